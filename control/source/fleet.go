// SPDX-License-Identifier: Apache-2.0

package source

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Fleets is the kind of what is known of the proxies of a Gateway, which has the
// Gateway's name. It is not Kubernetes' own: who runs the proxies puts it into the
// View, so that status is a function of the View, too.
var Fleets = Kind{"weir.dev", "Fleet"}

// A Fleet is the proxies of one Gateway.
type Fleet struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	// Addresses that the proxies are reached at.
	Addresses []string
	// Bind are the addresses that the proxies' own sockets are bound to; none is all.
	Bind []string
	// Unprivileged proxies cannot bind ports below 1024, and bind others for them: see
	// graph.Gateway's Bound.
	Unprivileged bool
	// Unusable are the addresses asked for that cannot be had.
	Unusable []string
	// Ready tells that there are proxies, and that all have acknowledged what they serve.
	Ready bool
	// Absent tells that there is no proxy.
	Absent bool
	// Waiting is what is missing until they are ready, for people; it may be empty.
	Waiting string
	// Problem is why they did not, for people.
	Problem string
	// Ports that cannot be served, and why.
	Ports map[int32]string
	// Wanted are ports that another gateway wants, too, and does not get.
	Wanted map[int32]string
}

// NewFleet returns what is known of a Gateway's proxies.
func NewFleet(gateway Name) *Fleet {
	return &Fleet{ObjectMeta: metav1.ObjectMeta{Namespace: gateway.Namespace, Name: gateway.Name}}
}

// DeepCopyObject returns a copy that shares nothing.
func (f *Fleet) DeepCopyObject() runtime.Object {
	out := *f
	out.ObjectMeta = *f.ObjectMeta.DeepCopy()
	out.Addresses, out.Bind, out.Unusable = slices.Clone(f.Addresses), slices.Clone(f.Bind), slices.Clone(f.Unusable)
	out.Ports, out.Wanted = maps.Clone(f.Ports), maps.Clone(f.Wanted)
	return &out
}

// Equal reports whether both say the same.
func (f *Fleet) Equal(o *Fleet) bool {
	return f.Ready == o.Ready && f.Absent == o.Absent && f.Waiting == o.Waiting && f.Problem == o.Problem && slices.Equal(f.Addresses, o.Addresses) &&
		slices.Equal(f.Unusable, o.Unusable) && slices.Equal(f.Bind, o.Bind) && f.Unprivileged == o.Unprivileged && maps.Equal(f.Ports, o.Ports) && maps.Equal(f.Wanted, o.Wanted)
}
