// SPDX-License-Identifier: Apache-2.0

// Package xds is the wall between the control plane and the data plane: what
// crosses it is a Snapshot of Envoy's own messages (API v3), and nothing else.
//
// The package owns the Snapshot, its Builder, the Store that holds the newest
// one, the Origin that says which line or object a resource came from, and the
// Problem in which everything that reads configuration speaks to people. It does
// not read files (package load), judge contents (package check) or open sockets.
package xds
