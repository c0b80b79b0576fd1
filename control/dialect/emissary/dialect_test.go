// SPDX-License-Identifier: Apache-2.0

package emissary_test

import (
	"strings"
	"testing"

	"weir.dev/weir/control"
	"weir.dev/weir/control/controltest"
	"weir.dev/weir/internal/golden"
)

func TestGoldens(t *testing.T) { controltest.Run(t, "testdata/*.txtar") }

// TestLimiterOfFleets: proxies of other processes have no limiter for a RateLimitService to
// name, and are not told of it.
func TestLimiterOfFleets(t *testing.T) {
	changes, problems := controltest.Parse(t, golden.Parse(`
-- in.yaml --
apiVersion: getambassador.io/v3alpha1
kind: Listener
metadata: {name: http}
spec: {port: 8080, protocol: HTTP, securityModel: XFP, hostBinding: {namespace: {from: ALL}}}
---
apiVersion: getambassador.io/v3alpha1
kind: RateLimitService
metadata: {name: own}
spec: {service: weir.limiter}
---
apiVersion: getambassador.io/v3alpha1
kind: Mapping
metadata: {name: shop}
spec: {hostname: "*", prefix: /, service: shop.example, labels: {ambassador: [{all: [remote_address]}]}}
`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w := controltest.NewWorld(t, control.Options{Deliver: true})
	w.Apply(changes...)
	if got := w.Status(); !strings.Contains(got, "proxies here have none: run weir ratelimit") {
		t.Errorf("the statuses are\n%s", got)
	}
	if got := w.XDS(); strings.Contains(got, "ratelimit") || strings.Contains(got, "limit=") {
		t.Errorf("the snapshot is\n%s", got)
	}
}
