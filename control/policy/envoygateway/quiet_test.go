// SPDX-License-Identifier: Apache-2.0

package envoygateway_test

import (
	"slices"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	localratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"

	"weir.dev/weir/control"
	"weir.dev/weir/control/build"
	"weir.dev/weir/control/controltest"
	"weir.dev/weir/control/policy/envoygateway/install"
)

const quiet = oneGateway + `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app, namespace: default}
spec: {parentRefs: [{name: gw}], rules: [{}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: app, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}]
  rateLimit:
    local:
      rules:
      - {limit: {requests: 1, unit: Second}, ALL}
      - {limit: {requests: 1, unit: Second}, clientSelectors: [{headers: [{name: a, value: b}]}]}
      - {limit: {requests: 1, unit: Second}, clientSelectors: [{headers: [{name: a, value: c}]}], xRateLimitHeaders: DraftVersion03}
    global:
      rules:
      - {limit: {requests: 1, unit: Second}}
      - {limit: {requests: 1, unit: Second}, clientSelectors: [{headers: [{name: a, value: c}]}], xRateLimitHeaders: DraftVersion03}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: gw, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  headers: {disableRateLimitHeaders: QUIET}
`

// A ClientTrafficPolicy has responses not tell what is left of limits, but of those that say so themselves.
func TestQuiet(t *testing.T) {
	const unsaid, off, draft = routev3.RateLimit_UNSPECIFIED, routev3.RateLimit_OFF, routev3.RateLimit_DRAFT_VERSION_03
	for _, tt := range []struct {
		quiet, all    string
		filter        bool // of requests that no other rule chooses
		local, global []routev3.RateLimit_XRateLimitOption
	}{
		{"false", "", true, []routev3.RateLimit_XRateLimitOption{unsaid, draft}, []routev3.RateLimit_XRateLimitOption{unsaid, draft}},
		{"true", "", false, []routev3.RateLimit_XRateLimitOption{off, draft}, []routev3.RateLimit_XRateLimitOption{off, draft}},
		{"true", "xRateLimitHeaders: DraftVersion03", true, []routev3.RateLimit_XRateLimitOption{off, draft}, []routev3.RateLimit_XRateLimitOption{off, draft}},
	} {
		w := controltest.NewWorld(t, control.Options{Limits: &install.LimitService{}})
		all := tt.all
		if all == "" {
			all = "shared: false"
		}
		w.Apply(controltest.Objects(t, strings.NewReplacer("QUIET", tt.quiet, "ALL", all).Replace(quiet))...)
		rc, ok := w.Snapshot().Routes().Get("default/gw/80")
		if !ok {
			t.Fatal(w.Status())
		}
		route := rc.GetVirtualHosts()[0].GetRoutes()[0]
		local, global := &localratelimitv3.LocalRateLimit{}, &ratelimitv3.RateLimitPerRoute{}
		if err := route.GetTypedPerFilterConfig()[build.LocalRateLimit].UnmarshalTo(local); err != nil {
			t.Fatal(err)
		}
		if err := route.GetTypedPerFilterConfig()[build.RateLimit].UnmarshalTo(global); err != nil {
			t.Fatal(err)
		}
		if got := local.GetEnableXRatelimitHeaders() != 0; got != tt.filter {
			t.Errorf("%+v: it is %v that the bucket of all is told", tt, got)
		}
		if got := options(local.GetRateLimits()); !slices.Equal(got, tt.local) {
			t.Errorf("%+v: local rules have %v", tt, got)
		}
		if got := options(global.GetRateLimits()); !slices.Equal(got, tt.global) {
			t.Errorf("%+v: global rules have %v", tt, got)
		}
	}
}

func options(limits []*routev3.RateLimit) (out []routev3.RateLimit_XRateLimitOption) {
	for _, l := range limits {
		out = append(out, l.GetXRatelimitOption())
	}
	return out
}
