// SPDX-License-Identifier: Apache-2.0

// Package source holds the objects that configuration is made of: Gateway API's,
// Kubernetes' own and Weir's, whether they come from a cluster or from files.
//
// A [View] is an immutable, indexed set of them; a change makes another one, which
// shares with the old what is alike. Translation reads a View through [Get], [List]
// and [Find], which record what was read (package memo).
//
// Objects of older versions are held as the newest: an HTTPRoute of v1beta1 is a
// v1.HTTPRoute here. The package does not fetch, watch or validate objects: its
// folders kube and file do.
package source

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"weir.dev/weir/xds"
)

// An Object is an object of Kubernetes. Objects in a View must not be changed.
type Object interface {
	metav1.Object
	runtime.Object
}

// A Kind names a kind of object. The version is not part of it.
type Kind struct{ Group, Kind string }

// String returns "Service" or "HTTPRoute.gateway.networking.k8s.io".
func (k Kind) String() string {
	if k.Group == "" {
		return k.Kind
	}
	return k.Kind + "." + k.Group
}

// A returns what a kind is called, with its article: "a Service", "an HTTPRoute".
func A(kind string) string {
	first, next := kind[:min(1, len(kind))], kind[min(1, len(kind)):]
	spelt := next != "" && next[0] >= 'A' && next[0] <= 'Z' // As in HTTPRoute: letters are read one by one.
	if first != "" && (strings.Contains("AEIOaeio", first) || spelt && strings.Contains("FHLMNRSX", first) || !spelt && strings.Contains("Uu", first)) {
		return "an " + kind
	}
	return "a " + kind
}

// A Name is where an object is, within its kind. Namespace is empty for objects
// that are of the whole cluster.
type Name struct{ Namespace, Name string }

// String returns "namespace/name", or the name alone.
func (n Name) String() string {
	if n.Namespace == "" {
		return n.Name
	}
	return n.Namespace + "/" + n.Name
}

// A Key names one object.
type Key struct {
	Kind
	Name
}

// String returns "HTTPRoute default/shop".
func (k Key) String() string { return fmt.Sprintf("%s %s", k.Kind.Kind, k.Name) }

// NameOf returns where an object is.
func NameOf(o Object) Name { return Name{o.GetNamespace(), o.GetName()} }

// Compare orders names by namespace and name.
func Compare(a, b Name) int { return compare(a.Namespace, b.Namespace, a.Name, b.Name) }

// CompareKeys orders keys by group, kind, namespace and name.
func CompareKeys(a, b Key) int {
	if c := compare(a.Group, b.Group, a.Kind.Kind, b.Kind.Kind); c != 0 {
		return c
	}
	return Compare(a.Name, b.Name)
}

func compare(pairs ...string) int {
	for i := 0; i < len(pairs); i += 2 {
		switch a, b := pairs[i], pairs[i+1]; {
		case a < b:
			return -1
		case a > b:
			return 1
		}
	}
	return 0
}

// A Place tells where an object stands in a file. The zero Place is nowhere.
type Place struct {
	File string
	// Line of the object, from 1.
	Line int
	// Lines tells the line of a field, such as "spec.rules[0].matches", or of what is
	// nearest around it; nil if only the object's is known.
	Lines func(path string) int
}

// Origin returns the place of a field of the object called key.
func (p Place) Origin(key Key, field string) xds.Origin {
	o := xds.Origin{File: p.File, Line: p.Line, Object: key.String(), Field: field}
	if p.Lines != nil && field != "" {
		o.Line = p.Lines(field)
	}
	return o
}
