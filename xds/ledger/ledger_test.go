// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"errors"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weir.dev/weir/xds"
)

const text = `
# a comment
message envoy.config.route.v3.RetryPolicy
retry_on                           yes
num_retries                        ignored: one is enough
per_try_timeout                    rejected
retry_host_predicate.name          rejected: no predicates   # here
retry_back_off                     see envoy.config.route.v3.RetryPolicy.RetryBackOff
rate_limited_retry_back_off        see envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff

message envoy.config.route.v3.RetryPolicy.RetryBackOff
base_interval                      yes
max_interval                       rejected
`

func TestCheck(t *testing.T) {
	got := MustParse(text).Check(&routev3.RetryPolicy{
		RetryOn:       "5xx",
		PerTryTimeout: durationpb.New(1),
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{
			{}, {Name: "x"},
		},
		RetryBackOff:            &routev3.RetryPolicy_RetryBackOff{BaseInterval: durationpb.New(1), MaxInterval: durationpb.New(2)},
		RateLimitedRetryBackOff: &routev3.RetryPolicy_RateLimitedRetryBackOff{MaxInterval: durationpb.New(2)},
		RetriableStatusCodes:    []uint32{500},
	}, "routes[0].retry_policy")
	var lines []string
	for _, p := range got {
		lines = append(lines, p.Error())
	}
	want := []string{
		"routes[0].retry_policy.per_try_timeout: is not supported (remove it)",
		"routes[0].retry_policy.retry_host_predicate[1].name: is not supported: no predicates (remove it)",
		"routes[0].retry_policy.retriable_status_codes: is not supported (remove it)",
		"routes[0].retry_policy.retry_back_off.max_interval: is not supported (remove it)",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
}

func TestCheckWarnsOfIgnoredMaps(t *testing.T) {
	l := MustParse("message envoy.config.core.v3.Metadata\nfilter_metadata ignored: no one reads it\ntyped_filter_metadata yes\n")
	got := l.Check(corev3Metadata(), "")
	if len(got) != 1 || got[0].Severity != xds.Warning || got[0].Error() != "warning: filter_metadata: is ignored: no one reads it" {
		t.Errorf("got %v", got)
	}
}

func corev3Metadata() *corev3.Metadata {
	return xds.WithOrigin(nil, xds.Origin{File: "x"})
}

func TestParseErrors(t *testing.T) {
	for in, want := range map[string]string{
		"a yes":                              "before the first",
		"message a.B\nx maybe":               `line 2: x: verdict "maybe"`,
		"message a.B\nx ignored":             "wants a reason",
		"message a.B\nx see":                 "wants the name",
		"message a.B\nx yes\nx rejected":     "a second line for x",
		"message a.B\nmessage a.B":           "a second section",
		"message a..B":                       "not the name",
		"message a.B\nmessage yes\nx TODO\n": "",
	} {
		_, err := Parse(in)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q) = %v, want %q", in, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(text)
	f.Fuzz(func(_ *testing.T, in string) {
		if l, err := Parse(in); err == nil {
			for e := range l.Entries() {
				_ = e.problem("x").Error() + e.Verdict.String()
			}
		}
	})
}

func TestApply(t *testing.T) {
	l := MustParse(text)
	var warned []string
	warn := func(path, reason string) { warned = append(warned, path+" "+reason) }
	p := &routev3.RetryPolicy{RetryOn: "5xx", NumRetries: wrapperspb.UInt32(2)}
	if err := l.Apply(p, "r", warn); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff([]string{"r.num_retries is ignored: one is enough"}, warned); d != "" {
		t.Errorf("wrong warnings (-want +got):\n%s", d)
	}
	p.PerTryTimeout = durationpb.New(1)
	var one xds.Problem
	if err := l.Apply(p, "r", warn); !errors.As(err, &one) || err.Error() != "r.per_try_timeout: is not supported (remove it)" {
		t.Errorf("one: %v", err)
	}
	p.RetriableStatusCodes = []uint32{500}
	want := "r.per_try_timeout: is not supported (remove it); r.retriable_status_codes: is not supported (remove it)"
	if err := l.Apply(p, "r", warn); !errors.As(err, &one) || err.Error() != want {
		t.Errorf("two: %v", err)
	}
}
