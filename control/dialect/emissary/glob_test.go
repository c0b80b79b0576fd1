// SPDX-License-Identifier: Apache-2.0

package emissary

import (
	"regexp"
	"testing"

	"weir.dev/weir/control/source"
)

func TestGlobs(t *testing.T) {
	for _, tt := range []struct {
		a, b         string
		covers, meet bool
	}{
		{"*", "a.com", true, true},
		{"*.com", "a.com", true, true},
		{"*a.com", "ba.com", true, true},
		{"a.*", "a.com", true, true},
		{"a.com", "*.com", false, true},
		{"*.b.com", "*.com", false, true},
		{"*.com", "*.b.com", true, true},
		{"a.*", "*.com", false, true},
		{"*.com", "a.*", false, true},
		{"*.com", "*.org", false, false},
		{"a.com", "b.com", false, false},
		{"a.*", "b.*", false, false},
		{"*.com", "*", false, true},
	} {
		if got := covers(tt.a, tt.b); got != tt.covers {
			t.Errorf("%s covers %s: %v", tt.a, tt.b, got)
		}
		if got := meet(tt.a, tt.b); got != tt.meet {
			t.Errorf("%s meets %s: %v", tt.a, tt.b, got)
		}
	}
	for host, want := range map[string]bool{"a.com": true, "a.com:80": true, "b.com": false, "a.com:x": false} {
		if got := regexp.MustCompile("^(?:" + patternOf("a.*m") + ")$").MatchString(host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}

func TestServices(t *testing.T) {
	for _, tt := range []struct {
		text   string
		secure bool
		want   service
		bad    bool
	}{
		{"one", false, service{"one", 80, ""}, false},
		{"one", true, service{"one", 443, ""}, false},
		{"http://one", true, service{"one", 80, "http"}, false},
		{"https://One.two:8443", false, service{"one.two", 8443, "https"}, false},
		{"[::1]:80", false, service{"::1", 80, ""}, false},
		{"[::1]", false, service{"::1", 80, ""}, false},
		{"10.0.0.1", false, service{"10.0.0.1", 80, ""}, false},
		{"::1", false, service{}, true},
		{"one:0", false, service{}, true},
		{"one:http", false, service{}, true},
		{"one/path", false, service{}, true},
		{"grpc://one", false, service{}, true},
		{"https://", false, service{}, true},
		{"", false, service{}, true},
	} {
		got, err := parseService(tt.text, tt.secure)
		if (err != nil) != tt.bad || err == nil && got != tt.want {
			t.Errorf("%q: %+v, %v", tt.text, got, err)
		}
	}
}

// FuzzAnnotation feeds what stands in annotations of Services, which anybody may write.
func FuzzAnnotation(f *testing.F) {
	f.Add("---\napiVersion: getambassador.io/v2\nkind: Mapping\nname: a\nprefix: /a\nservice: b\nheaders: {x: true}\n")
	f.Add("apiVersion: getambassador.io/v3alpha1\nkind: Host\nmetadata: {name: a}\nspec: {hostname: x}\n")
	f.Add("a: &a [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		out := &annotation{}
		out.read(text, source.Key{Kind: source.Service, Name: source.Name{Namespace: "default", Name: "one"}})
		for _, o := range out.objects {
			if o.key.Name.Name == "" || o.object == nil {
				t.Errorf("an object without a name: %v", o.key)
			}
			_ = o.object.DeepCopyObject()
		}
	})
}
