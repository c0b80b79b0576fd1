// SPDX-License-Identifier: Apache-2.0

package grpcjsontranscoder

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"strings"
	"testing"

	"weir.dev/weir/proxy/stream"
)

// FuzzTemplate parses templates and looks paths up in their tree: a path that is the
// template itself is found, and its variables have values.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"/a/*/b", "/a/{b.c=d/*}:e", "/{a=**}", "/", "/a:b", "/a/**"} {
		f.Add(s, "/a/x/b:e")
	}
	f.Fuzz(func(t *testing.T, s, path string) {
		tpl, err := parseTemplate(s)
		if err != nil {
			return
		}
		var tr tree
		tr.add("GET", tpl, &rule{})
		tr.find("GET", path)
		parts := make([]string, len(tpl.segments))
		for i, seg := range tpl.segments {
			if parts[i] = seg; seg == one || seg == many {
				parts[i] = "%41"
			}
		}
		p := "/" + strings.Join(parts, "/")
		if tpl.verb != "" {
			p += ":" + tpl.verb
		}
		r, got := tr.find("GET", p)
		if r == nil {
			t.Fatalf("%q does not match %q", p, s)
		}
		for i := range tpl.vars {
			v := &tpl.vars[i]
			if v.value(got, everything) == "" {
				t.Fatalf("%q: %v has no value in %q", s, v.path, p)
			}
			v.value(got, exceptReserved)
		}
	})
}

// FuzzSplit cuts JSON arrays as the standard library does.
func FuzzSplit(f *testing.F) {
	for _, s := range []string{`[]`, `[1,"a,]",{"b":[2]}]`, ` [ {} , [] ] `, `[,]`, `[1,]`, `[`, `{}`, `["\"]`, ``, `[1]2`} {
		f.Add([]byte(s), byte(1))
	}
	f.Fuzz(func(t *testing.T, b []byte, size byte) {
		const limit = 64
		s := splitter{limit: limit}
		var got []json.RawMessage
		valid := true
		emit := func(e []byte) error {
			if len(e) > limit {
				t.Fatalf("%d bytes", len(e))
			}
			valid = valid && json.Valid(e)
			got = append(got, bytes.Clone(trim(e)))
			return nil
		}
		var err error
		for rest := b; len(rest) > 0 && err == nil; {
			n := min(int(size)+1, len(rest))
			err = s.feed(rest[:n], emit)
			rest = rest[n:]
		}
		if err == nil {
			err = s.finish()
		}
		if len(s.buf) > limit {
			t.Fatalf("%d bytes are kept", len(s.buf))
		}
		var want []json.RawMessage
		if json.Unmarshal(b, &want) != nil || want == nil {
			if err == nil && valid && len(trim(b)) > 0 {
				t.Fatalf("%q is taken for an array", b)
			}
			return
		}
		for _, e := range want {
			if len(e) > limit {
				return
			}
		}
		if err != nil || !valid || len(got) != len(want) {
			t.Fatalf("%q: %v, %d elements, want %d", b, err, len(got), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i], trim(want[i])) {
				t.Fatalf("%q: %q, want %q", b, got[i], want[i])
			}
		}
	})
}

// FuzzUnescape resolves escapes as net/url does, where it finds no fault.
func FuzzUnescape(f *testing.F) {
	for _, s := range []string{"", "a%20b", "%2f", "%", "%4", "%zz", "a+b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if want, err := url.PathUnescape(s); err == nil && unescape(s, everything, false) != want {
			t.Fatalf("%q", s)
		}
		if want, err := url.QueryUnescape(s); err == nil && unescape(s, everything, true) != want {
			t.Fatalf("%q", s)
		}
		for _, u := range []unescaping{exceptReserved, exceptSlash} {
			if strings.Count(unescape(s, u, false), "/") != strings.Count(s, "/") {
				t.Fatalf("%q has another slash", s)
			}
		}
		parameters(s, true, func(name, value string) {
			if name == "" {
				t.Fatalf("%q: %q has no name", s, value)
			}
		})
	})
}

// pieces is a body in pieces of one size.
type pieces struct {
	rest []byte
	size int
}

func (p *pieces) Next() ([]byte, error) {
	if len(p.rest) == 0 {
		return nil, io.EOF
	}
	n := min(p.size, len(p.rest))
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b, nil
}

func (*pieces) Ready() bool { return true }

// FuzzBodies feeds both directions of a stream with what comes.
func FuzzBodies(f *testing.F) {
	k := newMessages(f)
	f.Add([]byte(`[{"id":1,"author":{"name":"x"}}]`), byte(3))
	f.Add([]byte(k.frames("shop.Book", `{"id":1}`, `{"title":"x","byLang":{"a":{}}}`)), byte(3))
	filter, err := rig(f, `"case_insensitive_enum_parsing":true,"max_request_body_size":1000,"max_response_body_size":1000`).Compile(Extension(), config(f, `"case_insensitive_enum_parsing":true`))
	if err != nil {
		f.Fatal(err)
	}
	own, ok := filter.(*Filter)
	if !ok {
		f.Fatal("not a transcoder")
	}
	r, _ := own.own.tree.find("POST", "/v1/chat")
	c := &call{cfg: own.own, rule: r}
	f.Fuzz(func(t *testing.T, b []byte, size byte) {
		up := &upload{body: &pieces{b, int(size) + 1}, c: c, split: splitter{limit: 1000}}
		if out, err := stream.Collect(up, nil, 1<<20); err == nil {
			down := &download{body: &pieces{out, int(size) + 1}, c: c}
			down.frames.Max = 1 << 20
			text, err := stream.Collect(down, nil, 1<<22)
			if err != nil || !json.Valid(text) {
				t.Fatalf("%q became %q: %v", b, text, err)
			}
		}
		down := &download{body: &pieces{b, int(size) + 1}, c: c}
		down.frames.Max = 1000
		if text, err := stream.Collect(down, nil, 1<<22); err == nil && !json.Valid(text) {
			t.Fatalf("%q became %q", b, text)
		}
	})
}
