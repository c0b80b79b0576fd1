// SPDX-License-Identifier: Apache-2.0

package grpcjsontranscoder

import (
	"fmt"
	"strings"
	"testing"
)

func (t *template) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", strings.Join(t.segments, "/"))
	for _, v := range t.vars {
		fmt.Fprintf(&b, " %s=%d..%d", strings.Join(v.path, "."), v.start, v.end)
		if v.rest {
			b.WriteString("+")
		}
	}
	if t.verb != "" {
		b.WriteString(" :" + t.verb)
	}
	return b.String()
}

func TestParseTemplate(t *testing.T) {
	for in, want := range map[string]string{
		"/":                         "",
		"/a":                        "a",
		"/a/*/b":                    "a/*/b",
		"/a/**":                     "a/**",
		"/a/{b}":                    "a/* b=1..2",
		"/a/{b.c_1=d/*/e}/f":        "a/d/*/e/f b.c_1=1..4",
		"/a/{b=*}/{c=d/**}:verb":    "a/*/d/** b=1..2 c=2..4+ :verb",
		"/a:b":                      "a :b",
		"/{a=**}":                   "** a=0..1+",
		"/a=b;c/d":                  "a=b;c/d",
		"":                          "!slash",
		"a":                         "!slash",
		"/a/":                       "!empty",
		"//a":                       "!empty",
		"/a/**/b":                   "!last",
		"/{a=**}/b":                 "!last",
		"/{a={b}}":                  "!within",
		"/{a":                       "!brace",
		"/{}":                       "!field",
		"/{1a}":                     "!field",
		"/{a.}":                     "!field",
		"/{a-b}":                    "!field",
		"/{a=}":                     "!empty",
		"/a*":                       "!unexpected",
		"/***":                      "!unexpected",
		"/a}":                       "!unexpected",
		"/a:":                       "!verb",
		"/a:b/c":                    "!verb",
		"/a:b:c":                    "!verb",
		"/{a}/{a}":                  "!twice",
		"/a/{b=c}d":                 "!unexpected",
		"/v1/{name=projects/*}/{x}": "v1/projects/*/* name=1..3 x=3..4",
	} {
		tpl, err := parseTemplate(in)
		if wrong, ok := strings.CutPrefix(want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), wrong) {
				t.Errorf("%q: %v, want %q", in, err, wrong)
			}
			continue
		}
		if err != nil || tpl.String() != want {
			t.Errorf("%q: %v %v", in, tpl, err)
		}
	}
}

func TestTree(t *testing.T) {
	var tr tree
	rules := map[string]*rule{}
	for _, line := range []string{
		"GET /a/b", "GET /a/*", "GET /a/**", "GET /a/{x}/c", "GET /{x=**}", "POST /a/b", "* /any", "GET /a/{x}:go", "GET /", "GET /n/{x=o/**}:go",
	} {
		method, path, _ := strings.Cut(line, " ")
		tpl, err := parseTemplate(path)
		if err != nil {
			t.Fatal(err)
		}
		r := &rule{path: line}
		if old := tr.add(method, tpl, r); old != nil {
			t.Fatalf("%s is %s already", line, old.path)
		}
		rules[line] = r
	}
	for in, want := range map[string]string{
		"GET /a/b": "GET /a/b", "GET /a/b/": "GET /a/b", "GET /a/x": "GET /a/*", "GET /a/x/c": "GET /a/{x}/c", "GET /a/b/c": "GET /a/{x}/c", "GET /a/x/d": "GET /a/**",
		"GET /a": "GET /a/**", "GET /b": "GET /{x=**}", "POST /a/b": "POST /a/b", "POST /a/x": "", "PUT /any": "* /any", "GET /any": "* /any",
		"GET /a/b:go": "GET /a/{x}:go", "GET /a/b:stop": "GET /a/*", "GET /": "GET /", "GET /n/o/p:go": "GET /n/{x=o/**}:go", "GET /n/o:go": "GET /n/{x=o/**}:go", "GET x": "",
	} {
		method, path, _ := strings.Cut(in, " ")
		r, _ := tr.find(method, path)
		got := ""
		if r != nil {
			got = r.path
		}
		if got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	tpl, _ := parseTemplate("/a/{y}/c")
	if tr.add("GET", tpl, &rule{}) != rules["GET /a/{x}/c"] {
		t.Error("two rules have one place")
	}
}

func TestRefusedConfigurations(t *testing.T) {
	r := rig(t, "")
	for _, tt := range []struct{ json, says string }{
		{`{"services":["shop.Shop"]}`, "DescriptorSet"},
		{`{"services":["shop.Shop"],"proto_descriptor_bin":""}`, "proto_descriptor_bin is empty"},
		{`{"services":["shop.Shop"],"proto_descriptor_bin":"/w=="}`, "is not a descriptor set"},
		{`{"services":["shop.Shop"],"proto_descriptor":"testdata/none.pb"}`, "proto_descriptor: open"},
		{strings.Replace(config(t, ""), "shop.Shop", "shop.None", 1), `services[0]: "shop.None" is not a service`},
		{strings.Replace(config(t, ""), "shop.Shop", "shop.Book", 1), `services[0]: "shop.Book" is not a service`},
		{strings.Replace(config(t, ""), `"shop.Shop"`, `"shop.Shop","shop.Shop"`, 1), "already belongs to shop.Shop.Get"},
		{config(t, `"max_request_body_size":0`), "MaxRequestBodySize"},
	} {
		if _, err := r.Compile(Extension(), tt.json); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%v, want %q", err, tt.says)
		}
	}
	if _, err := r.Compile(Extension(), `{"proto_descriptor_bin":"/w=="}`); err != nil {
		t.Errorf("without services: %v", err)
	}
}
