// SPDX-License-Identifier: Apache-2.0

package headermutation

import (
	"strings"
	"testing"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/proxy/stream/streamtest"
	"weir.dev/weir/xds/ledger/ledgertest"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestFields(t *testing.T) {
	ledgertest.Run(t, "fields.txt", Extension().Config, Extension().Route)
}

// appendTo is an append mutation in JSON.
func appendTo(key, value, action string) string {
	return `{"append":{"header":{"key":"` + key + `","value":"` + value + `"},"append_action":"` + action + `"}}`
}

const (
	always    = "APPEND_IF_EXISTS_OR_ADD"
	absent    = "ADD_IF_ABSENT"
	overwrite = "OVERWRITE_IF_EXISTS_OR_ADD"
	exists    = "OVERWRITE_IF_EXISTS"
)

func TestHeaders(t *testing.T) {
	tests := []struct {
		name, mutation string
		want           string // fields x-*, in order
	}{
		{"append", appendTo("x-a", "2", always), "x-a=1 x-b=1 x-b=2 x-a=2"},
		{"append new", appendTo("X-New", "2", always), "x-a=1 x-b=1 x-b=2 x-new=2"},
		{"absent", appendTo("x-a", "2", absent) + "," + appendTo("x-c", "2", absent), "x-a=1 x-b=1 x-b=2 x-c=2"},
		{"overwrite", appendTo("x-b", "3", overwrite) + "," + appendTo("x-c", "3", overwrite), "x-a=1 x-b=3 x-c=3"},
		{"overwrite if exists", appendTo("x-b", "3", exists) + "," + appendTo("x-c", "3", exists), "x-a=1 x-b=3"},
		{"remove", `{"remove":"x-b"},{"remove":"x-none"}`, "x-a=1"},
		{"remove on match", `{"remove_on_match":{"key_matcher":{"prefix":"x-"}}}`, ""},
		{"remove on match spares pseudo", `{"remove_on_match":{"key_matcher":{"safe_regex":{"regex":".*"}}}}`, ""},
		{"in order", `{"remove":"x-a"},` + appendTo("x-a", "9", exists) + "," + appendTo("x-a", "8", absent), "x-b=1 x-b=2 x-a=8"},
		{"empty is left out", appendTo("x-a", "", overwrite), "x-a=1 x-b=1 x-b=2"},
		{"empty is kept", `{"append":{"header":{"key":"x-c"},"keep_empty_value":true}}`, "x-a=1 x-b=1 x-b=2 x-c="},
		{"formatted", appendTo("x-c", "%REQ(x-a)%-%REQ(:method)%", always), "x-a=1 x-b=1 x-b=2 x-c=1-GET"},
		{"formatted, sees what was changed", appendTo("x-a", "7", overwrite) + "," + appendTo("x-c", "%REQ(x-a)%", always), "x-a=7 x-b=1 x-b=2 x-c=7"},
		{"formatted, without a value", appendTo("x-c", "%REQ(x-none)%", always), "x-a=1 x-b=1 x-b=2"},
		{"deprecated append", `{"append":{"header":{"key":"x-a","value":"2"},"append":false}}`, "x-a=2 x-b=1 x-b=2"},
		{"raw value", `{"append":{"header":{"key":"x-c","raw_value":"YWI="}}}`, "x-a=1 x-b=1 x-b=2 x-c=ab"},
	}
	fields := []string{"x-a: 1", "x-b: 1", "x-b: 2"}
	own := func(l streamtest.Lines) string {
		var out []string
		for _, f := range l {
			if strings.HasPrefix(f, "x-") {
				out = append(out, strings.Replace(f, ": ", "=", 1))
			}
		}
		return strings.Join(out, " ")
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), `{"mutations":{"request_mutations":[`+tt.mutation+`],"response_mutations":[`+tt.mutation+`]}}`)
			res := rig.Run(streamtest.Request{Header: fields}, streamtest.Upstream{Header: fields})
			if got := own(res.Upstream.Header); got != tt.want {
				t.Errorf("request: got %s, want %s", got, tt.want)
			}
			// A formatted value reads the request, which was changed alike.
			if got := own(res.Header); got != tt.want {
				t.Errorf("response: got %s, want %s", got, tt.want)
			}
			if res.Status != 200 || res.Upstream.Header.Get(":path") != "/" {
				t.Errorf("status %d, upstream %v", res.Status, res.Upstream.Header)
			}
		})
	}
}

func TestPseudo(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"mutations":{"request_mutations":[`+appendTo("Host", "other.example", overwrite)+`,`+appendTo(":path", "/x%PATH%", overwrite)+`]}}`)
	res := rig.Run(streamtest.Request{Path: "/y"}, streamtest.Upstream{})
	if h := res.Upstream.Header; h.Get(":authority") != "other.example" || h.Get(":path") != "/x/y" || h.Has("host") {
		t.Errorf("%v", h)
	}
}

func TestQuery(t *testing.T) {
	param := func(key, value, action string) string {
		return `{"append":{"record":{"key":"` + key + `","value":"` + value + `"},"action":"` + action + `"}}`
	}
	tests := []struct{ name, path, mutation, want string }{
		{"add to none", "/p", param("k", "v", always), "/p?k=v"},
		{"add to an empty query", "/p?", param("k", "v", always), "/p?k=v"},
		{"append", "/p?k=1&z=2", param("k", "v", always), "/p?k=1&z=2&k=v"},
		{"encoded", "/p", param("a b", "x&y=%REQ(:method)%", always), "/p?a%20b=x%26y%3DGET"},
		{"absent", "/p?k=1", param("k", "v", absent) + "," + param("l", "v", absent), "/p?k=1&l=v"},
		{"overwrite", "/p?a=1&%6b=1&b=2&k", param("k", "v", overwrite), "/p?a=1&b=2&k=v"},
		{"overwrite if exists", "/p?k=1", param("k", "v", exists) + "," + param("l", "v", exists), "/p?k=v"},
		{"remove", "/p?a=1&k=1&b=%zz&k=2", `{"remove":"k"}`, "/p?a=1&b=%zz"},
		{"remove the only one", "/p?k=1", `{"remove":"k"}`, "/p"},
		{"remove none", "/p?kk=1&=k", `{"remove":"k"}`, "/p?kk=1&=k"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig := streamtest.New(t)
			rig.Add(Extension(), `{"mutations":{"query_parameter_mutations":[`+tt.mutation+`]}}`)
			res := rig.Run(streamtest.Request{Path: tt.path}, streamtest.Upstream{})
			if got := res.Upstream.Header.Get(":path"); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestTrailers(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"mutations":{
		"request_trailers_mutations":[`+appendTo("x-t", "%REQ(:method)%", always)+`],
		"response_trailers_mutations":[`+appendTo("x-t", "%TRAILER(x-sum)%", always)+`,{"remove":"x-sum"}]}}`)
	with := []string{"x-sum: 5"}
	res := rig.Run(streamtest.Request{Body: streamtest.Pieces("a"), Trailer: with}, streamtest.Upstream{Body: streamtest.Pieces("b"), Trailer: with})
	if got := strings.Join(res.Upstream.Trailer, " "); got != "x-sum: 5 x-t: GET" {
		t.Errorf("request: %s", got)
	}
	if got := strings.Join(res.Trailer, " "); got != "x-t: 5" {
		t.Errorf("response: %s", got)
	}
	res = rig.Run(streamtest.Request{Body: streamtest.Pieces("a"), Chunked: true}, streamtest.Upstream{Body: streamtest.Pieces("b"), Chunked: true})
	if len(res.Upstream.Trailer)+len(res.Trailer) != 0 || res.Body != "b" {
		t.Errorf("trailers were made up: %v %v", res.Upstream.Trailer, res.Trailer)
	}
}

func TestLevels(t *testing.T) {
	level := func(v string) string {
		return `{"mutations":{"request_mutations":[` + appendTo("x-l", v, always) + `],"response_mutations":[` + appendTo("x-l", v, always) + `]}}`
	}
	for _, tt := range []struct{ wins, want string }{
		{"false", "own, entry, host, table"},
		{"true", "own, table, host, entry"},
	} {
		rig := streamtest.New(t)
		rig.Add(Extension(), strings.TrimSuffix(level("own"), "}")+`,"most_specific_header_mutations_wins":`+tt.wins+`}`)
		rig.Route(streamtest.Route{Filter: Extension(), Table: level("table"), Host: level("host"), Entry: level("entry")})
		res := rig.Run(streamtest.Request{}, streamtest.Upstream{})
		if got := res.Upstream.Header.Get("x-l"); got != tt.want {
			t.Errorf("request: %s, want %s", got, tt.want)
		}
		if got := res.Header.Get("x-l"); got != tt.want {
			t.Errorf("response: %s, want %s", got, tt.want)
		}
	}
}

func TestRefused(t *testing.T) {
	rig := streamtest.New(t)
	tests := []struct{ mutations, want string }{
		{`"request_mutations":[{}]`, "mutations.request_mutations[0]: has no action"},
		{`"response_mutations":[{"remove":"a"},{"remove":":status"}]`, "mutations.response_mutations[1].remove: :status cannot be removed"},
		{`"request_mutations":[{"remove":"a b"}]`, "is not a header name"},
		{`"request_mutations":[` + appendTo(":path", "/", always) + `]`, "append_action: :path has one value"},
		{`"request_mutations":[` + appendTo("x", "%NOPE%", always) + `]`, "append.header.value"},
		{`"request_mutations":[` + appendTo("x", `a\nb`, always) + `]`, "line break"},
		{`"request_mutations":[{"append":{"header":{"key":"x"},"append":true,"append_action":"ADD_IF_ABSENT"}}]`, "append_action is set too"},
		{`"query_parameter_mutations":[{}]`, "query_parameter_mutations[0].append: is missing"},
		{`"query_parameter_mutations":[{"append":{"record":{"key":"k","value":1}}}]`, "is no string"},
		{`"query_parameter_mutations":[{"append":{"entry":{"key":"k","value":""}}}]`, "append.entry"},
		{`"request_mutations":[` + appendTo("x", "y", always) + `],"formatters":[{"name":"x"}]`, "formatters[0]"},
	}
	for _, tt := range tests {
		if _, err := rig.Compile(Extension(), `{"mutations":{`+tt.mutations+`}}`); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.mutations, err)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	rig := streamtest.New(t)
	rig.Add(Extension(), `{"mutations":{"request_mutations":[`+appendTo("x-a", "1", always)+`,{"remove":"x-b"},`+appendTo("x-c", "%REQ(:path)%", overwrite)+`],
		"query_parameter_mutations":[{"remove":"a"}],"response_mutations":[`+appendTo("x-d", "1", always)+`]}}`)
	rig.Route(streamtest.Route{Filter: Extension(), Entry: `{"mutations":{"request_mutations":[` + appendTo("x-e", "1", always) + `]}}`})
	if n := rig.Allocs(streamtest.Request{Path: "/?a=1&b=2"}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
