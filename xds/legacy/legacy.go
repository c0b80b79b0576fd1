// SPDX-License-Identifier: Apache-2.0

// Package legacy turns configuration of the older versions of Envoy's API into v3,
// as trees: package v1 the JSON that Envoy read until 1.9, package v2 what came
// after it and what mixes v2 and v3. What is v3 already stays as it is.
//
// It changes form, not meaning, and tells of each change. What has no meaning any
// more is refused; what v3 has and Weir does not is left to whoever reads v3.
package legacy

import (
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/reflect/protoreflect"

	"weir.dev/weir/xds"
	"weir.dev/weir/xds/legacy/tree"
	"weir.dev/weir/xds/legacy/v1"
	"weir.dev/weir/xds/legacy/v2"
)

// bootstrap is what was of v1 as a whole, or not at all.
const bootstrap = "envoy.config.bootstrap.v3.Bootstrap"

// A Document is what a file holds.
type Document struct {
	// File is its name in notes and problems.
	File string
	// Root of its tree.
	Root *yaml.Node
	// Message that it is read into.
	Message protoreflect.MessageDescriptor
	// Find returns the descriptors of v3.
	Find func(name protoreflect.FullName) (protoreflect.MessageDescriptor, bool)
	// Limits of what it may cost.
	Limits tree.Limits
	// Problems and notes that are kept; 0 is 200.
	Most int
}

// Upgrade returns the tree in v3: the document's own, rewritten in place, or a copy if
// parts of it stand in several places.
func Upgrade(d Document) (*yaml.Node, []xds.Note, []xds.Problem) {
	root := d.Root
	if tree.Shared(root) {
		var err error
		if root, err = tree.Expand(root, d.Limits); err != nil {
			return d.Root, nil, nil // whoever reads the document says where.
		}
	}
	report := &tree.Report{File: d.File, Most: d.Most}
	if d.Message.FullName() == bootstrap && v1.Old(root) {
		root = v1.Upgrade(root, report)
	} else {
		v2.Upgrade(root, d.Message, d.Find, report)
	}
	report.End()
	if root == nil || len(report.Notes) == 0 && len(report.Problems) == 0 {
		return d.Root, nil, nil
	}
	return root, report.Notes, report.Problems
}
