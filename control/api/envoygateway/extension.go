// SPDX-License-Identifier: Apache-2.0

package envoygateway

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/api/deep"
)

// An EnvoyExtensionPolicy has requests and responses pass what is not the proxy's own.
type EnvoyExtensionPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   EnvoyExtensionPolicySpec `json:"spec"`
	Status gwapiv1.PolicyStatus     `json:"status,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *EnvoyExtensionPolicy) DeepCopyObject() runtime.Object { return deep.Copy(o) }

// EnvoyExtensionPolicySpec is what an EnvoyExtensionPolicy says. ExtProc is in the order
// in which requests pass; the others are known and not done.
type EnvoyExtensionPolicySpec struct {
	Targets `json:",inline"`

	// MergeType is as of a BackendTrafficPolicySpec.
	MergeType     *string          `json:"mergeType,omitempty"`
	ExtProc       []ExtProc        `json:"extProc,omitempty"`
	Wasm          []map[string]any `json:"wasm,omitempty"`
	Lua           []map[string]any `json:"lua,omitempty"`
	DynamicModule []map[string]any `json:"dynamicModule,omitempty"`
}

// ExtProc is a processor of Envoy's ext_proc in gRPC.
type ExtProc struct {
	BackendCluster `json:",inline"`

	MessageTimeout *gwapiv1.Duration      `json:"messageTimeout,omitempty"`
	FailOpen       *bool                  `json:"failOpen,omitempty"`
	ProcessingMode *ExtProcProcessingMode `json:"processingMode,omitempty"`
	ShadowMode     *bool                  `json:"shadowMode,omitempty"`
	Metadata       *ExtProcMetadata       `json:"metadata,omitempty"`
	StatusOnError  *int32                 `json:"statusOnError,omitempty"`
}

// ExtProcProcessingMode is what a processor sees: nothing of a direction that is left out.
type ExtProcProcessingMode struct {
	Request           *ProcessingModeOptions `json:"request,omitempty"`
	Response          *ProcessingModeOptions `json:"response,omitempty"`
	AllowModeOverride bool                   `json:"allowModeOverride,omitempty"`
}

// ProcessingModeOptions is what a processor sees of one direction, besides headers. Body is
// Streamed, Buffered, BufferedPartial or FullDuplexStreamed; nil is not at all.
type ProcessingModeOptions struct {
	Body       *string  `json:"body,omitempty"`
	Attributes []string `json:"attributes,omitempty"`
}

// ExtProcMetadata are the namespaces of dynamic metadata that a processor sees, and those
// that it may write.
type ExtProcMetadata struct {
	AccessibleNamespaces []string `json:"accessibleNamespaces,omitempty"`
	WritableNamespaces   []string `json:"writableNamespaces,omitempty"`
}
