// SPDX-License-Identifier: Apache-2.0

// Package status says what became of objects, in the words of the API: conditions
// made of problems, and updates that are written where the objects come from.
//
// Conditions made here have no times: translation has no clock. Who writes them
// gives them theirs, with [Merge].
package status

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwapiv1 "sigs.k8s.io/gateway-api/apis/v1"

	"weir.dev/weir/control/graph"
	"weir.dev/weir/control/source"
)

// An Update is the status of one object.
type Update struct {
	Key source.Key
	// Status is a *GatewayClassStatus, *GatewayStatus, *ListenerSetStatus, *RouteStatus,
	// *PolicyStatus, *IngressStatus or, of Emissary-ingress, a *MappingStatus or *HostStatus,
	// of Istio, a *Status, or of backends, a *BackendStatus of either API, or a *Leaving; nil if the
	// kind has none, and there are only problems to tell. A RouteStatus or PolicyStatus has only the parents and ancestors
	// that are ours.
	Status any
	// Problems are what the conditions tell of.
	Problems []graph.Problem
}

// longest is how many problems a message tells; of more, it tells how many.
const longest = 4

// Message tells problems in one line.
func Message(problems []graph.Problem) string {
	var parts []string
	for i, p := range problems {
		if i == longest {
			parts = append(parts, fmt.Sprintf("and %d more", len(problems)-longest))
			break
		}
		parts = append(parts, p.String())
	}
	return strings.Join(parts, "; ")
}

// maxMessage is the longest message that the API takes, in bytes.
const maxMessage = 32768

// Condition returns a condition.
func Condition[T, R ~string](kind T, ok bool, reason R, message string, generation int64) metav1.Condition {
	c := metav1.Condition{Type: string(kind), Status: metav1.ConditionFalse, Reason: string(reason), Message: message, ObservedGeneration: generation}
	if ok {
		c.Status = metav1.ConditionTrue
	}
	if len(c.Message) > maxMessage {
		c.Message = strings.ToValidUTF8(c.Message[:maxMessage], "")
	}
	return c
}

// Judge returns a condition that is true for the reason good if there is no problem,
// and otherwise false for the first problem's reason.
func Judge[T, R ~string](kind T, problems []graph.Problem, good R, message string, generation int64) metav1.Condition {
	if len(problems) == 0 {
		return Condition(kind, true, good, message, generation)
	}
	return Condition(kind, false, R(problems[0].Reason), Message(problems), generation)
}

// Merge gives conditions their times: those of old ones that say the same, and now
// for the others. Conditions of old that fresh does not speak of are dropped.
func Merge(old, fresh []metav1.Condition, now metav1.Time) []metav1.Condition {
	out := slices.Clone(fresh)
	for i := range out {
		out[i].LastTransitionTime = now
		for _, o := range old {
			if o.Type == out[i].Type && o.Status == out[i].Status {
				out[i].LastTransitionTime = o.LastTransitionTime
			}
		}
	}
	return out
}

// SameParent reports whether two references are to the same parent.
func SameParent(a, b gwapiv1.ParentReference) bool {
	return same(a.Group, b.Group) && same(a.Kind, b.Kind) && same(a.Namespace, b.Namespace) && a.Name == b.Name &&
		same(a.SectionName, b.SectionName) && same(a.Port, b.Port)
}

func same[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
