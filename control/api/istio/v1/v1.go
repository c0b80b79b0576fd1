// SPDX-License-Identifier: Apache-2.0

// Package v1 has the types of Istio's objects of the group networking.istio.io, written
// by the schemas of its CRDs as of Istio 1.31. Versions v1, v1beta1 and v1alpha3 are one schema.
//
// The types hold what Weir reads. They do not convert, default or validate; durations
// are texts, so that a wrong one is told with its place.
package v1

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Group of the objects.
const Group = "networking.istio.io"

// Security is the group of policies about who may do what.
const Security = "security.istio.io"

// Status is what became of an object of any kind.
type Status struct {
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
	ValidationMessages []Message          `json:"validationMessages,omitempty"`
	ObservedGeneration Number             `json:"observedGeneration,omitempty"`
}

// Number is a whole number, which Istio writes as a text.
type Number int64

// UnmarshalJSON reads a number, or one in quotes.
func (n *Number) UnmarshalJSON(data []byte) error {
	if len(data) > 1 && data[0] == '"' {
		data = data[1 : len(data)-1]
	}
	return json.Unmarshal(data, (*int64)(n))
}

// MarshalJSON writes a text.
func (n Number) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `"%d"`, int64(n)), nil }

// A Message is something wrong in an object, in the form of Istio's analysis.
type Message struct {
	Type struct {
		Name string `json:"name,omitempty"`
		Code string `json:"code,omitempty"`
	} `json:"type"`
	// Level is ERROR, WARNING or INFO.
	Level            string `json:"level,omitempty"`
	DocumentationURL string `json:"documentationUrl,omitempty"`
}

// StringMatch is one of three ways to match a text.
type StringMatch struct {
	Exact  *string `json:"exact,omitempty"`
	Prefix *string `json:"prefix,omitempty"`
	Regex  *string `json:"regex,omitempty"`
}

// Percent is a share of 100, down to a ten thousandth.
type Percent struct {
	Value float64 `json:"value,omitempty"`
}

// PortSelector names a port by its number.
type PortSelector struct {
	Number uint32 `json:"number,omitempty"`
}

// A Foreign object is of a kind that is not supported: it is reported, whatever it says.
type Foreign struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   map[string]any `json:"spec,omitempty"`
	Status Status         `json:"status,omitempty"`
}

// DeepCopyObject returns a copy that shares nothing.
func (o *Foreign) DeepCopyObject() runtime.Object { return deep(o) }

// deep copies an object.
func deep[T any](o *T) *T {
	data, err := json.Marshal(o)
	out := new(T)
	if err == nil {
		err = json.Unmarshal(data, out)
	}
	if err != nil {
		panic("BUG: an object that was decoded cannot be encoded: " + err.Error())
	}
	return out
}
