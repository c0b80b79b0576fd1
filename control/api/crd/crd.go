// SPDX-License-Identifier: Apache-2.0

// Package crd has the schemas of custom resources, as their CRDs have them, without
// descriptions and status: those of the Gateway API's experimental channel, which
// holds the standard one, and Weir's own. A test keeps the former to the module that
// go.mod names; go test -update writes them anew.
package crd

import "embed"

// Schemas has a file kind.group.json for each kind, in lower case.
//
//go:embed *.json
var Schemas embed.FS
