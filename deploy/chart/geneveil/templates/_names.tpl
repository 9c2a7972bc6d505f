{{- define "geneveil.labels" -}}
app.kubernetes.io/name: geneveil
app.kubernetes.io/part-of: geneveil
{{- end }}

{{- define "geneveil.image" -}}
{{ with .Values.image.registry }}{{ . }}/{{ end }}{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "geneveil.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:geneveil-operator
{{- end }}

{{- define "geneveil.agentUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:geneveil-agent
{{- end }}

{{- define "geneveil.policyNames" -}}
geneveil-keep-switch, geneveil-keep-crds, geneveil-keep-namespace, geneveil-keep-state, geneveil-node-status, geneveil-operator-limits
{{- end }}

{{- define "geneveil.agentConfig" -}}
apiVersion: geneveil.io/v1alpha1
kind: AgentConfig
mode: {{ .Values.mode }}
genevePorts: {{ toJson .Values.genevePorts }}
vici: unix:///run/geneveil-charon/charon.vici
controlPlane: kubernetes
kubernetes:
  {{- with .Values.agent.apiServer }}
  apiServer: {{ . }}
  {{- end }}
  namespace: {{ .Release.Namespace }}
  signerName: {{ .Values.signerName }}
{{- end }}

{{- /* The Pod's own identity, and where the API server is recognised by. Renewed by the kubelet. */}}
{{- define "geneveil.identity" -}}
- name: identity
  projected:
    defaultMode: 0400
    sources:
      - serviceAccountToken: {path: token, expirationSeconds: 3607}
      - configMap:
          name: kube-root-ca.crt
          items: [{key: ca.crt, path: ca.crt}]
      - downwardAPI:
          items: [{path: namespace, fieldRef: {apiVersion: v1, fieldPath: metadata.namespace}}]
{{- end }}
