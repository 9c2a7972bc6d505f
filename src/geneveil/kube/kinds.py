"""The resources that geneveil touches."""

from geneveil.kube.port import Kind

GROUP = "geneveil.io"
VERSION = "v1alpha1"

CLUSTER_IPSECS = Kind(GROUP, VERSION, "ClusterIPsec", "clusteripsecs", is_namespaced=False)
NODE_IPSECS = Kind(GROUP, VERSION, "NodeIPsec", "nodeipsecs", is_namespaced=False)
NODES = Kind("", "v1", "Node", "nodes", is_namespaced=False)
CONFIG_MAPS = Kind("", "v1", "ConfigMap", "configmaps", is_namespaced=True)
SECRETS = Kind("", "v1", "Secret", "secrets", is_namespaced=True)
EVENTS = Kind("", "v1", "Event", "events", is_namespaced=True)
PODS = Kind("", "v1", "Pod", "pods", is_namespaced=True)
CLUSTER_ROLE_BINDINGS = Kind(
    "rbac.authorization.k8s.io",
    "v1",
    "ClusterRoleBinding",
    "clusterrolebindings",
    is_namespaced=False,
)
LEASES = Kind("coordination.k8s.io", "v1", "Lease", "leases", is_namespaced=True)
SIGNING_REQUESTS = Kind(
    "certificates.k8s.io",
    "v1",
    "CertificateSigningRequest",
    "certificatesigningrequests",
    is_namespaced=False,
)
POLICIES = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "ValidatingAdmissionPolicy",
    "validatingadmissionpolicies",
    is_namespaced=False,
)
POLICY_BINDINGS = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "ValidatingAdmissionPolicyBinding",
    "validatingadmissionpolicybindings",
    is_namespaced=False,
)
DEFINITIONS = Kind(
    "apiextensions.k8s.io",
    "v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    is_namespaced=False,
)
OWN_DEFINITIONS = tuple(f"{kind.plural}.{GROUP}" for kind in (CLUSTER_IPSECS, NODE_IPSECS))
OPENSHIFT_NETWORKS = Kind("operator.openshift.io", "v1", "Network", "networks", is_namespaced=False)

NAMESPACE = "geneveil-system"
TRUST_CONFIG_MAP = "geneveil-trust"
CLUSTER_NAME = "cluster"
"""The one ClusterIPsec, and OKD's one Network."""
