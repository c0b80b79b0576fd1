// SPDX-License-Identifier: Apache-2.0

package rls

import (
	"fmt"
	"strings"
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	"weir.dev/weir/control/limiter"
	"weir.dev/weir/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

const limits = `
domain: web
descriptors:
  - {key: user, metadata: {plan: free}, rate_limit: {name: per-user, unit: hour, requests_per_unit: 2}}
  - {key: path, value: /x, rate_limit: {unit: minute, requests_per_unit: 5}}
  - {key: free, rate_limit: {unlimited: true}}
`

func service(t *testing.T, o Options) *Service {
	t.Helper()
	now := time.Unix(3600*480_000+3500, 0)
	l := limiter.New(limiter.Options{Now: func() time.Time { return now }})
	t.Cleanup(l.Close)
	list, problems := limiter.Parse("limits.yaml", []byte(limits))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if err := l.Set(list); err != nil {
		t.Fatal(err)
	}
	return New(l, o)
}

func TestShouldRateLimit(t *testing.T) {
	entry := func(k, v string) string { return fmt.Sprintf(`{"entries":[{"key":%q,"value":%q}]}`, k, v) }
	tests := []struct {
		name    string
		o       Options
		request string
		times   int
		want    string
	}{
		{"within", Options{}, `{"domain":"web","descriptors":[` + entry("user", "ann") + `]}`, 1,
			`{"overallCode":"OK","statuses":[{"code":"OK","currentLimit":{"name":"per-user","requestsPerUnit":2,"unit":"HOUR"},"limitRemaining":1,"durationUntilReset":"100s"}]}`},
		{"over", Options{}, `{"domain":"web","descriptors":[` + entry("user", "ann") + `]}`, 3,
			`{"overallCode":"OVER_LIMIT","statuses":[{"code":"OVER_LIMIT","currentLimit":{"name":"per-user","requestsPerUnit":2,"unit":"HOUR"},"durationUntilReset":"100s"}]}`},
		{"none and unlimited", Options{}, `{"domain":"web","descriptors":[` + entry("x", "y") + `,` + entry("free", "y") + `]}`, 1,
			`{"overallCode":"OK","statuses":[{"code":"OK"},{"code":"OK","limitRemaining":4294967295}]}`},
		{"its own limit", Options{}, `{"domain":"web","descriptors":[{"entries":[{"key":"user","value":"bob"}],"limit":{"requestsPerUnit":7,"unit":"MINUTE","unitMultiplier":2},"hitsAddend":"3"}]}`, 1,
			`{"overallCode":"OK","statuses":[{"code":"OK","currentLimit":{"requestsPerUnit":7,"unit":"MINUTE"},"limitRemaining":4,"durationUntilReset":"100s"}]}`},
		{"headers", Options{LimitHeader: "RateLimit-Limit", RemainingHeader: "RateLimit-Remaining", ResetHeader: "RateLimit-Reset"}, `{"domain":"web","hitsAddend":2,"descriptors":[` + entry("user", "ann") + `,` + entry("path", "/x") + `]}`, 1,
			`{"overallCode":"OK","statuses":[{"code":"OK","currentLimit":{"name":"per-user","requestsPerUnit":2,"unit":"HOUR"},"durationUntilReset":"100s"},{"code":"OK","currentLimit":{"requestsPerUnit":5,"unit":"MINUTE"},"limitRemaining":3,"durationUntilReset":"40s"}],
			"responseHeadersToAdd":[{"key":"RateLimit-Limit","value":"2"},{"key":"RateLimit-Remaining","value":"0"},{"key":"RateLimit-Reset","value":"100"}]}`},
		{"metadata", Options{Metadata: true}, `{"domain":"web","hitsAddend":1,"descriptors":[` + entry("user", "ann") + `]}`, 1,
			`{"overallCode":"OK","statuses":[{"code":"OK","currentLimit":{"name":"per-user","requestsPerUnit":2,"unit":"HOUR"},"limitRemaining":1,"durationUntilReset":"100s"}],
			"dynamicMetadata":{"domain":"web","descriptors":[{"entries":["user=ann"]}],"hitsAddend":1,"metadata":{"plan":"free"}}}`},
	}
	for _, tt := range tests {
		var m ratelimitv3.RateLimitRequest
		var want ratelimitv3.RateLimitResponse
		if err := protojson.Unmarshal([]byte(tt.request), &m); err != nil {
			t.Fatal(tt.name, err)
		}
		if err := protojson.Unmarshal([]byte(tt.want), &want); err != nil {
			t.Fatal(tt.name, err)
		}
		s := service(t, tt.o)
		var got *ratelimitv3.RateLimitResponse
		for range tt.times {
			var err error
			if got, err = s.ShouldRateLimit(t.Context(), &m); err != nil {
				t.Fatal(tt.name, err)
			}
		}
		if d := cmp.Diff(&want, got, protocmp.Transform()); d != "" {
			t.Errorf("%s:\n%s", tt.name, d)
		}
	}
}

func TestRefused(t *testing.T) {
	for request, want := range map[string]string{
		`{"descriptors":[{}]}`: "InvalidArgument rate limit domain must not be empty",
		`{"domain":"web"}`:     "InvalidArgument rate limit descriptor list must not be empty",
		`{"domain":"web","descriptors":[{"limit":{"requestsPerUnit":1}}]}`: "InvalidArgument descriptors[0].limit.unit: UNKNOWN is no unit",
	} {
		var m ratelimitv3.RateLimitRequest
		if err := protojson.Unmarshal([]byte(request), &m); err != nil {
			t.Fatal(err)
		}
		_, err := service(t, Options{}).ShouldRateLimit(t.Context(), &m)
		if s, _ := status.FromError(err); !strings.HasPrefix(s.Code().String()+" "+s.Message(), want) {
			t.Errorf("%s: %v, want %s", request, err, want)
		}
	}
}
