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
