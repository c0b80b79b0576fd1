// SPDX-License-Identifier: Apache-2.0

// Package standards holds the proxy to the suites that others wrote for its
// protocols: h2spec for HTTP/2, gRPC's interop client and server.
package standards

import (
	"testing"

	"weir.dev/weir/test/weirtest"
)

func TestMain(m *testing.M) { weirtest.Main(m) }
