// SPDX-License-Identifier: Apache-2.0

package file

import (
	"slices"

	"weir.dev/weir/control/source"
)

// foreign are kinds of Kubernetes, by their group, that stand beside the objects of
// traffic in the files of an application and say nothing of traffic. As an apiserver is,
// others are asked to be known.
var foreign = map[string][]string{
	"": {
		"Binding", "ComponentStatus", "Endpoints", "Event", "LimitRange", "PersistentVolume", "PersistentVolumeClaim", "PodTemplate",
		"ReplicationController", "ResourceQuota", "ServiceAccount",
	},
	"admissionregistration.k8s.io": {
		"MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy",
		"ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration",
	},
	"apiextensions.k8s.io":         {"CustomResourceDefinition"},
	"apiregistration.k8s.io":       {"APIService"},
	"apps":                         {"ControllerRevision", "DaemonSet", "ReplicaSet", "StatefulSet"},
	"autoscaling":                  {"HorizontalPodAutoscaler"},
	"batch":                        {"CronJob", "Job"},
	"certificates.k8s.io":          {"CertificateSigningRequest", "ClusterTrustBundle"},
	"coordination.k8s.io":          {"Lease"},
	"extensions":                   {"DaemonSet", "NetworkPolicy", "PodSecurityPolicy", "ReplicaSet"},
	"flowcontrol.apiserver.k8s.io": {"FlowSchema", "PriorityLevelConfiguration"},
	"networking.k8s.io":            {"IPAddress", "NetworkPolicy", "ServiceCIDR"},
	"node.k8s.io":                  {"RuntimeClass"},
	"policy":                       {"PodDisruptionBudget", "PodSecurityPolicy"},
	"rbac.authorization.k8s.io":    {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"},
	"scheduling.k8s.io":            {"PriorityClass"},
	"storage.k8s.io":               {"CSIDriver", "CSINode", "CSIStorageCapacity", "StorageClass", "VolumeAttachment", "VolumeAttributesClass"},
}

func isForeign(k source.Kind) bool { return slices.Contains(foreign[k.Group], k.Kind) }
