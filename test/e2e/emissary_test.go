// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"weir.dev/weir/test/weirtest"
)

// TestEmissary serves the objects of examples/seeds/003-emissary, and breaks them as the document's quick start does:
// the reason is told.
func TestEmissary(t *testing.T) {
	f := weirtest.Example(t, moduleRoot, "examples/seeds/003-emissary")
	p := weirtest.Start(t, f.Run("--drain-strategy", "immediate")...)
	p.WaitFor("Ready.")
	secure := "curl -si --http1.1 --cacert examples/seeds/003-emissary/certs/ca.crt --connect-to ::127.0.0.1:8443 https://dev.wadexu.cloud/"
	until(t, f, secure, `"name":"my-nginx"`)
	until(t, f, "curl -si --connect-to ::127.0.0.1:8080 http://dev.wadexu.cloud/a/b", "location: https://dev.wadexu.cloud/a/b")

	// The quick start's TLSContext names a secret of its own namespace.
	f.Edit(t, "emissary.yaml", "  min_tls_version: v1.2", "  min_tls_version: v1.2\n  secret: tls-secret")
	p.WaitFor("secret info mismatch: the Host names Secret secret/tls-secret, and its TLSContext emissary/my-tls-context names emissary/tls-secret")

	p.Signal(syscall.SIGTERM)
	if status := p.Wait(30 * time.Second); status != 0 {
		t.Errorf("weir ended with %d:\n%s", status, p.Output())
	}
	if strings.Contains(p.Output(), "panic") {
		t.Error(p.Output())
	}
}
