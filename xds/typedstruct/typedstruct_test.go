// SPDX-License-Identifier: Apache-2.0

package typedstruct

import (
	"testing"
	"time"

	udpatypev1 "github.com/cncf/xds/go/udpa/type/v1"
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

type inner struct {
	Weight uint32 `field:"weight"`
}

type config struct {
	On      bool                `field:"on"`
	Name    string              `field:"name"`
	Count   int64               `field:"count"`
	Share   float64             `field:"share"`
	Timeout time.Duration       `field:"timeout"`
	Hosts   []string            `field:"hosts"`
	Allow   map[string][]string `field:"allow"`
	Inner   inner               `field:"inner"`
	Inners  []inner             `field:"inners"`
}

func parse(t *testing.T, value string) *xdstypev3.TypedStruct {
	t.Helper()
	s := New("weir.dev.Test")
	s.Value = &structpb.Struct{}
	if err := protojson.Unmarshal([]byte(value), s.Value); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDecode(t *testing.T) {
	got := config{Name: "before", Count: 1}
	err := Decode(parse(t, `{"on":true,"name":null,"count":-7,"share":0.5,"timeout":"0.25s","hosts":["a","b"],
		"allow":{"x":["y"]},"inner":{"weight":3},"inners":[{"weight":4294967295},{}]}`), &got)
	want := config{
		On: true, Name: "before", Count: -7, Share: 0.5, Timeout: 250 * time.Millisecond, Hosts: []string{"a", "b"},
		Allow: map[string][]string{"x": {"y"}}, Inner: inner{3}, Inners: []inner{{4294967295}, {}},
	}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	if err := Decode(New("weir.dev.Test"), &got); err != nil {
		t.Errorf("no value: %v", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, tt := range []struct{ value, want string }{
		{`{"nmae":"x"}`, `value["nmae"]: unknown field (did you mean "name"?)`},
		{`{"zzzzzz":1}`, `value["zzzzzz"]: unknown field (there are on, name, count, share, timeout, hosts, allow, inner, inners)`},
		{`{"inner":{"wieght":1}}`, `value["inner"]["wieght"]: unknown field (did you mean "weight"?)`},
		{`{"on":"yes"}`, `value["on"]: found the text "yes", want true or false`},
		{`{"name":1.5}`, `value["name"]: found 1.5, want text`},
		{`{"count":1.5}`, `value["count"]: found 1.5, want a whole number`},
		{`{"count":9007199254740994}`, `value["count"]: found 9.007199254740994e+15, want a whole number`},
		{`{"share":[]}`, `value["share"]: found a list, want a number`},
		{`{"timeout":5}`, `value["timeout"]: found 5, want a duration in seconds such as "0.25s"`},
		{`{"timeout":"5m"}`, `value["timeout"]: found the text "5m", want a duration in seconds such as "0.25s"`},
		{`{"hosts":"a"}`, `value["hosts"]: found the text "a", want a list`},
		{`{"hosts":["a",null]}`, `value["hosts"][1]: an element of a list cannot be null: remove it`},
		{`{"allow":{"x.y":[true]}}`, `value["allow"]["x.y"][0]: found true, want text`},
		{`{"allow":[]}`, `value["allow"]: found a list, want a mapping`},
		{`{"inner":[]}`, `value["inner"]: found a list, want fields`},
		{`{"inners":[{"weight":-1}]}`, `value["inners"][0]["weight"]: found -1, want a whole number from 0 to 4294967295`},
	} {
		if err := Decode(parse(t, tt.value), &config{}); err == nil || err.Error() != tt.want {
			t.Errorf("%s:\ngot  %v\nwant %s", tt.value, err, tt.want)
		}
	}
}

func TestFields(t *testing.T) {
	want := []string{"on", "name", "count", "share", "timeout", "hosts", "allow", "inner.weight", "inners.weight"}
	if d := cmp.Diff(want, Fields(&config{})); d != "" {
		t.Error(d)
	}
}

func TestFrom(t *testing.T) {
	own := New("weir.dev.Test")
	for _, tt := range []struct {
		in   proto.Message
		want bool
	}{
		{own, true},
		{&udpatypev1.TypedStruct{TypeUrl: own.GetTypeUrl()}, true},
		{&corev3.Node{}, false},
	} {
		a, err := anypb.New(tt.in)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := From(a); err != nil || (got != nil) != tt.want || tt.want && (Name(got) != "weir.dev.Test" || !Own(Name(got))) {
			t.Errorf("%s: %v, %v", a.MessageName(), got, err)
		}
	}
	a := &anypb.Any{TypeUrl: "type.googleapis.com/xds.type.v3.TypedStruct", Value: []byte{0xff}}
	if got, err := From(a); err == nil || got != nil {
		t.Errorf("broken bytes: %v, %v", got, err)
	}
	if Own("envoy.config.core.v3.Node") || Own("weir.development.X") {
		t.Error("what is not ours is taken for ours")
	}
}

// FuzzDecode feeds values of any form: errors, never a panic.
func FuzzDecode(f *testing.F) {
	f.Add(`{"on":true,"hosts":["a"],"inner":{"weight":1}}`)
	f.Add(`{"timeout":"1s","allow":{"x":[{}]}}`)
	f.Fuzz(func(t *testing.T, value string) {
		s := &structpb.Struct{}
		if protojson.Unmarshal([]byte(value), s) != nil {
			return
		}
		_ = Decode(&xdstypev3.TypedStruct{Value: s}, &config{}) // Any outcome but a panic will do.
	})
}
