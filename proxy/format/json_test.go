// SPDX-License-Identifier: Apache-2.0

package format

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"weir.dev/weir/proxy/header"
)

func TestJSON(t *testing.T) {
	tree := map[string]any{
		"z": "%RESPONSE_CODE%", "a": "%REQ(:METHOD)%", "none": "%REQ(X-NONE)%", "mix": "%REQ(X-NONE)% is %RESPONSE_CODE%",
		"port": "%DOWNSTREAM_REMOTE_PORT%", "meta": "%DYNAMIC_METADATA(com.test)%", "n": 2.5, "b": true, "s": "a \"b\"\n", "empty": "",
		"in":   map[string]any{"x": "%REQ(X-NONE)%", "flags": "%RESPONSE_FLAGS%", "grpc": "%GRPC_STATUS_NUMBER%"},
		"gone": map[string]any{"x": "%REQ(X-NONE)%"},
		"list": []any{"%REQ(X-NONE)%", "%DURATION%", "x", []any{"%REQ(X-NONE)%"}},
		"cut":  "%REQ(USER-AGENT):3%", "cut2": `%COALESCE({"operators":[{"command":"REQ","param":"x"},{"command":"REQ","param":"user-agent"}]}):2%`, "body": "%LOCAL_REPLY_BODY%", "fs": "%FILTER_STATE(o)%", "id": "%CONNECTION_ID%",
	}
	const meta = `{"key":"foo","n":1.5,"nil":null,"obj":{"a":["x",1],"inner":"bar"},"ok":true,"whole":3}`
	tests := []struct {
		omit bool
		want string
	}{
		{false, `{"a":"POST","b":true,"body":"no\nway","cut":"nsq","cut2":"ns","empty":"","fs":{"a":1},"gone":{"x":null},"id":7,` +
			`"in":{"flags":"-","grpc":3,"x":null},"list":[null,226,"x",[null]],"meta":` + meta +
			`,"mix":"- is 204","n":2.5,"none":null,"port":4711,"s":"a \"b\"\n","z":204}`},
		{true, `{"a":"POST","b":true,"body":"no\nway","cut":"nsq","cut2":"ns","empty":"","fs":{"a":1},"id":7,` +
			`"in":{"flags":"-","grpc":3},"list":[226,"x",[]],"meta":` + meta +
			`,"mix":" is 204","n":2.5,"port":4711,"s":"a \"b\"\n","z":204}`},
	}
	for _, tt := range tests {
		o := testOptions()
		o.OmitEmpty = tt.omit
		f, err := CompileJSON(tree, o)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(f.AppendTo([]byte("x"), stream())); got != "x"+tt.want+"\n" {
			t.Errorf("omit %v\n got %s\nwant %s", tt.omit, got, tt.want)
		}
	}
	o := testOptions()
	o.OmitEmpty = true
	f, err := CompileJSON(map[string]any{"a": "%REQ(X)%", "b": map[string]any{"c": "%REQ(X)%"}}, o)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(f.AppendTo(nil, quiet())); got != "{}\n" {
		t.Errorf("nothing but missing values: %q", got)
	}
}

func TestJSONStrings(t *testing.T) {
	tree := map[string]any{"code": "%RESPONSE_CODE%", "none": "%REQ(X)%", "n": 1.5, "meta": "%DYNAMIC_METADATA(com.test:obj)%"}
	for omit, want := range map[bool]string{
		false: `{"code":"204","meta":"{\"a\":[\"x\",1],\"inner\":\"bar\"}","n":"1.5","none":"-"}`,
		true:  `{"code":"204","meta":"{\"a\":[\"x\",1],\"inner\":\"bar\"}","n":"1.5"}`,
	} {
		o := testOptions()
		o.Strings, o.OmitEmpty = true, omit
		f, err := CompileJSON(tree, o)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(f.AppendTo(nil, stream())); got != want+"\n" {
			t.Errorf("omit %v\n got %s\nwant %s", omit, got, want)
		}
	}
}

func TestJSONErrors(t *testing.T) {
	deep := any("x")
	for range 100 {
		deep = []any{deep}
	}
	tests := []struct {
		in   any
		want string
	}{
		{"%NOPE%", "json_format.a.b: "},
		{nil, "json_format.a.b: a value must be"},
		{[]any{"x", nil}, "json_format.a.b[1]: a value must be"},
		{deep, "nested deeper"},
	}
	for _, tt := range tests {
		_, err := CompileJSON(map[string]any{"a": map[string]any{"b": tt.in}}, Options{})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}

func TestJSONEscapes(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", `""`},
		{"plain", `"plain"`},
		{"a\"b\\c", `"a\"b\\c"`},
		{"\x00\x1f\x7f\r\n\t", `"\u0000\u001f\u007f\r\n\t"`},
		{"ok \xff\xfe end", "\"ok \ufffd\ufffd end\""},
		{"cut \xe2\x82", "\"cut \ufffd\ufffd\""},
		{"grün €", `"grün €"`},
		{"\u2028\u2029", `"\u2028\u2029"`},
	}
	for _, tt := range tests {
		if got := string(AppendQuoted(nil, tt.in)); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.in, got, tt.want)
		}
	}
	deep := any(1.0)
	for range 1000 {
		deep = map[string]any{"a": deep}
	}
	for _, v := range []any{math.NaN(), math.Inf(1), math.Inf(-1), 1e300, -0.5, deep, struct{}{}, int64(3)} {
		if out := AppendJSONValue(nil, v); !json.Valid(out) {
			t.Errorf("%v: %s", v, out)
		}
	}
}

// everything is a JSON format of values that a client or a backend chooses.
func everything(t testing.TB, o Options) *Format {
	t.Helper()
	f, err := CompileJSON(map[string]any{
		"path": "%REQ(:PATH)%", "x": "%REQ(X)%", "cut": "%REQ(X):3%", "mix": "<%REQ(X)%>%REQ(X):1%", "param": "%QUERY_PARAM(a)%",
		"params": "%QUERY_PARAMS(DECODED):7%", "sni": "%REQUESTED_SERVER_NAME%", "meta": "%DYNAMIC_METADATA(ns)%",
		"one": "%DYNAMIC_METADATA(ns:k)%", "grpc": "%GRPC_STATUS%", "number": "%GRPC_STATUS_NUMBER%", "body": "%LOCAL_REPLY_BODY%",
		"state": "%FILTER_STATE(s)%", "first": `%COALESCE({"operators":[{"command":"REQ","param":"x"},"PATH"]}):2%`,
		"list": []any{"%REQ(X)%", map[string]any{"details": "%RESPONSE_CODE_DETAILS%"}},
	}, o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func FuzzValues(f *testing.F) {
	f.Add("x\r\n{\"admin\":true}", "/p?a=%0d%0a&b=\xff")
	f.Add("\xe2\x80", "/?a=%22%5c")
	f.Add("", "")
	texts := []string{
		Default, "%REQ(X)% %REQ(X):2% %QUERY_PARAM(a)% %QUERY_PARAMS(DECODED)% %DYNAMIC_METADATA(ns)% %DYNAMIC_METADATA(ns:k)%" +
			" %FILTER_STATE(s)% %FILTER_STATE(s:PLAIN)% %LOCAL_REPLY_BODY% %RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)% %GRPC_STATUS%" +
			" %REQUESTED_SERVER_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT% %PATH(NQ)%" + "\n",
	}
	var lines, objects []*Format
	for _, text := range texts {
		c, err := Compile(text, testOptions())
		if err != nil {
			f.Fatal(err)
		}
		lines = append(lines, c)
	}
	for _, omit := range []bool{false, true} {
		o := testOptions()
		o.OmitEmpty = omit
		objects = append(objects, everything(f, o))
	}
	f.Fuzz(func(t *testing.T, value, path string) {
		s := stream()
		s.Request.Add(header.NewName("x"), value)
		s.Request.Set(header.Path, path)
		s.Request.Set(header.Authority, value)
		s.ResponseTrailer.Set(header.GRPCStatus, value)
		s.Conn.ServerName, s.StatusDetails, s.LocalReplyBody, s.Upstream.HostName = value, value, []byte(value), value
		s.Metadata["ns"] = map[string]any{"k": value, path: []any{value, nil, 1.0}}
		s.FilterState["s"] = streaminfoText(value)
		for _, c := range lines {
			out := string(c.AppendTo(nil, s))
			if strings.Count(out, "\n") != 1 || !strings.HasSuffix(out, "\n") || strings.ContainsAny(out, "\r\x00\x1b\x7f") {
				t.Fatalf("not one line: %q", out)
			}
		}
		for _, c := range objects {
			out := c.AppendTo(nil, s)
			if !json.Valid(out) || strings.Count(string(out), "\n") != 1 || strings.ToValidUTF8(string(out), "") != string(out) {
				t.Fatalf("not one line of JSON: %q", out)
			}
			var back map[string]any
			if err := json.Unmarshal(out, &back); err != nil {
				t.Fatal(err)
			}
			if len(back) > 15 {
				t.Fatalf("a value made a key of its own: %s", out)
			}
		}
	})
}

func FuzzCompile(f *testing.F) {
	f.Add(Default)
	f.Add("%START_TIME(%-3E*S%)%%COMMON_DURATION(a:b:ns)%%%")
	f.Add(`%COALESCE({"operators":["PATH",{"command":"REQ","param":"a?b","max_length":3}]}):2%`)
	f.Add(`%DYNAMIC_METADATA(["a","b"])%%METADATA(ROUTE:a:b):3%%FILTER_STATE(a:FIELD:b)%`)
	f.Fuzz(func(t *testing.T, s string) {
		c, err := Compile(s, testOptions())
		if err != nil {
			if c != nil || err.Error() == "" {
				t.Fatalf("an error and a format: %v", err)
			}
			return
		}
		c.AppendTo(nil, stream())
		c.AppendTo(nil, quiet())
		j, err := CompileJSON(map[string]any{"a": s}, testOptions())
		if err != nil {
			t.Fatalf("text but no JSON: %v", err)
		}
		if out := j.AppendTo(nil, stream()); !json.Valid(out) {
			t.Fatalf("not JSON: %q", out)
		}
	})
}
