// SPDX-License-Identifier: Apache-2.0

// Package conformance runs the Gateway API's own conformance suite in a real cluster.
package conformance

import (
	"testing"

	"weir.dev/weir/test/kube/kubetest"
)

func TestMain(m *testing.M) { kubetest.Main(m) }
