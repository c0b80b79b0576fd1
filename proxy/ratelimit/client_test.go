// SPDX-License-Identifier: Apache-2.0

package ratelimit

import (
	"fmt"
	"testing"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
)

// TestRequest: what is written by hand is what a message would be.
func TestRequest(t *testing.T) {
	q := &Question{Domain: "web", Hits: 3, Descriptors: []Descriptor{
		{Entries: []Entry{{"user", []byte("ann")}, {"empty", nil}}},
		{Entries: []Entry{{"path", []byte("/x")}}, RequestsPerUnit: 42, Unit: "HOUR", Hits: 1 << 40, Counted: true, Negative: true},
		{Entries: []Entry{{"none", []byte("0")}}, Counted: true},
	}}
	var got, want ratelimitv3.RateLimitRequest
	if err := proto.Unmarshal(appendRequest(nil, q), &got); err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal([]byte(`{"domain":"web","hitsAddend":3,"descriptors":[
		{"entries":[{"key":"user","value":"ann"},{"key":"empty"}]},
		{"entries":[{"key":"path","value":"/x"}],"limit":{"requestsPerUnit":42,"unit":"HOUR"},"hitsAddend":"1099511627776","isNegativeHits":true},
		{"entries":[{"key":"none","value":"0"}],"hitsAddend":"0"}]}`), &want); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&want, &got, protocmp.Transform()); d != "" {
		t.Error(d)
	}
}

func TestAnswer(t *testing.T) {
	tests := []struct {
		json string
		want Answer
		err  string
	}{
		{`{"overallCode":"OK"}`, Answer{}, ""},
		{`{}`, Answer{}, "the answer's overall_code is UNKNOWN"},
		{`{"overallCode":"OVER_LIMIT","rawBody":"YQ==","statuses":[{"code":"OVER_LIMIT","currentLimit":{"name":"n","requestsPerUnit":5,"unit":"WEEK","unitMultiplier":2},"durationUntilReset":"7s"},{"code":"OK","limitRemaining":9}],
			"responseHeadersToAdd":[{"key":"a","value":"b"},{"key":"bad name","value":"b"},{"key":"c","value":"d\nx: y"},{"key":":status","value":"200"}],"requestHeadersToAdd":[{"key":"e","rawValue":"Zg=="}],"dynamicMetadata":{"k":[1]}}`,
			Answer{
				Over: true, Body: []byte("a"), ResponseHeaders: []Field{{"a", "b"}}, RequestHeaders: []Field{{"e", "f"}}, Metadata: map[string]any{"k": []any{1.0}},
				Statuses: []Status{{Over: true, Limited: true, Name: "n", Requests: 5, Window: 14 * 24 * time.Hour, Reset: 7 * time.Second}, {Remaining: 9}},
			}, ""},
	}
	for _, tt := range tests {
		var m ratelimitv3.RateLimitResponse
		if err := protojson.Unmarshal([]byte(tt.json), &m); err != nil {
			t.Fatal(err)
		}
		data, err := proto.Marshal(&m)
		if err != nil {
			t.Fatal(err)
		}
		var a Answer
		if err := a.decode(data); fmt.Sprint(err) != tt.err && (err != nil || tt.err != "") {
			t.Errorf("%s: %v, want %s", tt.json, err, tt.err)
		}
		if len(a.Body) == 0 {
			a.Body = nil
		}
		if d := cmp.Diff(tt.want, a); d != "" {
			t.Errorf("%s:\n%s", tt.json, d)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte("\x08\x01"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		var a Answer
		_ = a.decode(data) // It may be anything, but must not panic.
	})
}
