// SPDX-License-Identifier: Apache-2.0

package awslambda

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"weir.dev/weir/proxy/header"
)

func head(method, path string, fields ...string) *header.Map {
	h := &header.Map{}
	h.Add(header.Method, method)
	h.Add(header.Path, path)
	h.Add(header.Authority, "example.com")
	for _, f := range fields {
		n, v, _ := strings.Cut(f, ": ")
		h.Add(header.NewName(n), v)
	}
	return h
}

func TestEvent(t *testing.T) {
	tests := []struct {
		name    string
		head    *header.Map
		body    string
		hasBody bool
		want    string
	}{
		{"without body", head("GET", "/a?b=c", "accept: */*"), "", false,
			`{"raw_path":"/a?b=c","method":"GET","headers":{"accept":"*/*"},"query_string_parameters":{"b":"c"},"body":"","is_base64_encoded":false}`},
		{"nothing at all", head("GET", "/"), "", false,
			`{"raw_path":"/","method":"GET","headers":{},"query_string_parameters":{},"body":"","is_base64_encoded":false}`},
		{"text", head("POST", "/", "content-type: application/json"), `{"a":"é\"\u0001"}` + "\n", true,
			`{"raw_path":"/","method":"POST","headers":{"content-type":"application/json"},"query_string_parameters":{},"body":"{\"a\":\"é\\\"\\u0001\"}\n","is_base64_encoded":false}`},
		{"any text", head("POST", "/", "content-type: Text/plain; charset=utf-8"), "\x00\x7f\\\t\r", true,
			`{"raw_path":"/","method":"POST","headers":{"content-type":"Text/plain; charset=utf-8"},"query_string_parameters":{},"body":"\u0000` + "\x7f" + `\\\t\r","is_base64_encoded":false}`},
		{"text that is not", head("POST", "/", "content-type: text/plain"), "\xff", true,
			`{"raw_path":"/","method":"POST","headers":{"content-type":"text/plain"},"query_string_parameters":{},"body":"/w==","is_base64_encoded":true}`},
		{"with a charset it is another type", head("POST", "/", "content-type: application/json; charset=utf-8"), "{}", true,
			`{"raw_path":"/","method":"POST","headers":{"content-type":"application/json; charset=utf-8"},"query_string_parameters":{},"body":"e30=","is_base64_encoded":true}`},
		{"no type", head("POST", "/"), "{}", true,
			`{"raw_path":"/","method":"POST","headers":{},"query_string_parameters":{},"body":"e30=","is_base64_encoded":true}`},
		{"fields of one name", head("GET", "/", "x-a: 1", "cookie: a", "x-b: \"", "x-a: 2", "cookie: b", "x-a: 3"), "", false,
			`{"raw_path":"/","method":"GET","headers":{"x-a":"1,2,3","cookie":"a,b","x-b":"\""},"query_string_parameters":{},"body":"","is_base64_encoded":false}`},
		{"parameters", head("GET", "/?a=1&b&a=2&=x&&c=%20+&b=3&d=e=f"), "", false,
			`{"raw_path":"/?a=1&b&a=2&=x&&c=%20+&b=3&d=e=f","method":"GET","headers":{},"query_string_parameters":{"a":"1","b":"","":"x","c":"%20+","d":"e=f"},"body":"","is_base64_encoded":false}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := isText(tt.head.Get(header.ContentType))
			if got := string(appendEvent([]byte("kept"), tt.head, []byte(tt.body), tt.hasBody, text)); got != "kept"+tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestManyParameters(t *testing.T) {
	path := "/?"
	want := map[string]string{}
	for i := range 40 {
		name := fmt.Sprintf("p%d", i%25)
		path += fmt.Sprintf("%s=%d&", name, i)
		if i < 25 {
			want[name] = fmt.Sprint(i)
		}
	}
	var got struct {
		Parameters map[string]string `json:"query_string_parameters"`
	}
	b := appendEvent(nil, head("GET", path), nil, false, false)
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got.Parameters); d != "" {
		t.Error(d)
	}
	if n := strings.Count(string(b), `"p3":`); n != 1 {
		t.Errorf("p3 stands there %d times", n)
	}
}

func TestIsText(t *testing.T) {
	for s, want := range map[string]bool{
		"application/json": true, "APPLICATION/JSON": true, "application/xml": true, "application/javascript": true, "text/": true, "text/html;x": true,
		"": false, "text": false, "application/json ": false, "application/jsonx": false, "image/png": false,
	} {
		if isText([]byte(s)) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

// FuzzEvent: whatever a request has, the event is JSON and says the same.
func FuzzEvent(f *testing.F) {
	f.Add("/a?b=c&d", "v", []byte("body"), true)
	f.Add("/\xff?\xff=\"", "\x80\u2028\\", []byte("\x00\xff"), false)
	f.Fuzz(func(t *testing.T, path, value string, body []byte, text bool) {
		b := appendEvent(nil, head("GET", path, "x-v: "+value), body, true, text)
		var got struct {
			Path    string            `json:"raw_path"`
			Headers map[string]string `json:"headers"`
			Query   map[string]string `json:"query_string_parameters"`
			Body    string            `json:"body"`
			Encoded bool              `json:"is_base64_encoded"`
		}
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if want := strings.ToValidUTF8(path, "\ufffd"); utf8.ValidString(path) && got.Path != want {
			t.Errorf("%q, want %q", got.Path, want)
		}
		if utf8.ValidString(value) && got.Headers["x-v"] != value {
			t.Errorf("%q, want %q", got.Headers["x-v"], value)
		}
		back := []byte(got.Body)
		if got.Encoded {
			var err error
			if back, err = base64.StdEncoding.DecodeString(got.Body); err != nil {
				t.Fatal(err)
			}
		}
		if string(back) != string(body) || got.Encoded != (!text || !utf8.Valid(body)) {
			t.Errorf("body %q (%v), want %q", back, got.Encoded, body)
		}
	})
}
