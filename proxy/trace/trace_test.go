// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"strings"
	"testing"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/streaminfo"
)

// recorder is a tracer of the headers of W3C that keeps the names of spans.
type recorder struct{ names []string }

func (*recorder) Begin(s *Span, h *header.Map, traced bool) {
	if !s.ExtractW3C(h) {
		s.NewTrace(true)
		s.Sampled = traced
	}
	s.NewID()
}

func (*recorder) Inject(s *Span, h *header.Map) { s.InjectW3C(h) }

func (r *recorder) Report(s *Span) { r.names = append(r.names, string(s.Name())) }

type runtime map[string]match.Fraction

func (r runtime) Fraction(key string) (match.Fraction, bool) { f, ok := r[key]; return f, ok }
func (runtime) Int(string) (int64, bool)                     { return 0, false }
func (runtime) Double(string) (float64, bool)                { return 0, false }
func (runtime) Bool(string) (bool, bool)                     { return false, false }

const untraced = "00000064-1111-4222-8333-444444444444" // 100 of 10,000

// TestDecide: the reason of a request and its place in x-request-id are Envoy's.
func TestDecide(t *testing.T) {
	none := match.Fraction{}
	half := match.Fraction{N: 100, Of: 10_000} // 100 itself is not below it.
	for _, tt := range []struct {
		name    string
		config  Config
		id      string
		headers string
		route   *route.Route
		want    Reason
		mark    byte
	}{
		{"all", Config{Client: match.All, Random: match.All, Overall: match.All}, untraced, "", nil, Sampling, '9'},
		{"none", Config{Client: match.All, Random: none, Overall: match.All}, untraced, "", nil, NotTraceable, '4'},
		{"not within the fraction", Config{Random: half, Overall: match.All}, untraced, "", nil, NotTraceable, '4'},
		{"within it", Config{Random: match.Fraction{N: 101, Of: 10_000}, Overall: match.All}, untraced, "", nil, Sampling, '9'},
		{"forced", Config{Random: none, Overall: match.All}, untraced, "x-envoy-force-trace", nil, ServiceForced, 'a'},
		{"by the client", Config{Client: match.All, Overall: match.All}, untraced, "x-client-trace-id", nil, ClientForced, 'b'},
		{"not by the client", Config{Client: none, Overall: match.All}, untraced, "x-client-trace-id", nil, NotTraceable, '4'},
		{"overall", Config{Client: match.All, Overall: none}, untraced, "x-client-trace-id x-envoy-force-trace", nil, NotTraceable, '4'},
		{"decided before", Config{Random: none, Overall: match.All}, strings.Replace(untraced, "-4", "-9", 1), "", nil, Sampling, '9'},
		{"undone", Config{Random: match.All, Overall: none}, strings.Replace(untraced, "-4", "-a", 1), "", nil, NotTraceable, '4'},
		{"another ID", Config{Random: match.All, Overall: match.All}, "hello", "", nil, NotTraceable, 0},
		{"no ID", Config{Random: match.All, Overall: match.All}, "", "", nil, NotTraceable, 0},
		{"the ID says nothing", Config{Unsampled: true}, untraced, "", nil, Sampling, '4'},
		{"the route's", Config{Random: none, Overall: match.All}, untraced, "", &route.Route{Tracing: &route.Tracing{RandomSampling: match.All, OverallSampling: match.All}}, Sampling, '9'},
		{"the runtime's", Config{Random: none, Overall: match.All, Runtime: runtime{KeyRandom: match.All}}, untraced, "", nil, Sampling, '9'},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var h header.Map
			if tt.id != "" {
				h.Add(header.XRequestID, tt.id)
			}
			for _, n := range strings.Fields(tt.headers) {
				h.Add(header.NewName(n), "true")
			}
			tt.config.Pack = true
			if got := tt.config.Decide(&h, tt.route, 5); got != tt.want {
				t.Errorf("reason %d, want %d", got, tt.want)
			}
			if id := h.Get(header.XRequestID); tt.mark != 0 && id[reasonAt] != tt.mark {
				t.Errorf("ID %s, want %c", id, tt.mark)
			}
			if len(tt.id) == lenID && number2(tt.id) != number2(string(h.Get(header.XRequestID))) {
				t.Error("another ID")
			}
		})
	}
}

func number2(id string) uint64 { n, _ := number([]byte(id)); return n }

func TestW3C(t *testing.T) {
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, tt := range []struct {
		value string
		ok    bool
	}{
		{good, true},
		{strings.TrimSuffix(good, "1") + "0", true},
		{"cc" + good[2:] + "-what-comes-later", true},
		{good + "-more", false},
		{"ff" + good[2:], false},
		{"00-00000000000000000000000000000000-b7ad6b7169203331-01", false},
		{"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false},
		{strings.ToUpper(good), false},
		{strings.Replace(good, "-b7", "xb7", 1), false},
		{"", false},
		{good[:54], false},
	} {
		var h header.Map
		h.Add(header.Traceparent, tt.value)
		h.Add(header.Tracestate, "a=b")
		var s Span
		if got := s.ExtractW3C(&h); got != tt.ok {
			t.Errorf("%q: %v", tt.value, got)
		}
		if !tt.ok {
			continue
		}
		s.ID = s.Parent
		var out header.Map
		s.InjectW3C(&out)
		if got := string(out.Get(header.Traceparent)); got[3:] != tt.value[3:len(got)] || string(out.Get(header.Tracestate)) != "a=b" {
			t.Errorf("%q comes out as %q", tt.value, got)
		}
	}
}

func FuzzW3C(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b")
	f.Fuzz(func(t *testing.T, parent, state string) {
		var h header.Map
		h.Add(header.Traceparent, parent)
		h.Add(header.Tracestate, state)
		var s Span
		if s.ExtractW3C(&h) && (s.Trace == TraceID{} || s.Parent == SpanID{}) {
			t.Errorf("%q is taken", parent)
		}
	})
}

// TestDecorators: whose name a span has, and who is told of it.
func TestDecorators(t *testing.T) {
	decorated := &route.Route{Decorator: &route.Decorator{Operation: "buy", Propagate: true}}
	private := &route.Route{Decorator: &route.Decorator{Operation: "buy"}}
	for _, tt := range []struct {
		name                     string
		egress                   bool
		route                    *route.Route
		asked                    string
		want, passed, told, back string
	}{
		{name: "in", want: "ingress"},
		{name: "out", egress: true, want: "egress a.example"},
		{name: "in, decorated", route: decorated, want: "buy", told: "buy"},
		{name: "in, asked", route: decorated, asked: "sell", want: "sell"},
		{name: "in, private", route: private, want: "buy"},
		{name: "out, decorated", egress: true, route: decorated, want: "buy", passed: "buy"},
		{name: "out, private", egress: true, route: private, want: "buy"},
		{name: "out, answered", egress: true, route: decorated, back: "bought", want: "bought", passed: "buy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &recorder{}
			c := &Config{Tracer: r, MaxPath: 256}
			conn := &streaminfo.Connection{}
			if tt.egress {
				conn.TrafficDirection = streaminfo.Outbound
			}
			var h, response header.Map
			h.Add(header.Method, "GET")
			h.Add(header.Path, "/")
			h.Add(header.Authority, "a.example")
			if tt.asked != "" {
				h.Add(header.XEnvoyDecoratorOperation, tt.asked)
			}
			if tt.back != "" {
				response.Add(header.XEnvoyDecoratorOperation, tt.back)
			}
			info := &streaminfo.Stream{Conn: conn, Request: &h, Status: 200}
			var s Span
			c.Begin(&s, &h, info, tt.route, true)
			if got := string(h.Get(header.XEnvoyDecoratorOperation)); got != tt.passed {
				t.Errorf("passed on %q, want %q", got, tt.passed)
			}
			s.Respond(&response)
			if got := string(response.Get(header.XEnvoyDecoratorOperation)); got != tt.told {
				t.Errorf("told %q, want %q", got, tt.told)
			}
			s.FinishRequest(info, tt.route)
			if len(r.names) != 1 || r.names[0] != tt.want {
				t.Errorf("spans %q, want %q", r.names, tt.want)
			}
		})
	}
}

// TestTags: a tag in the place of another, and memory used again.
func TestTags(t *testing.T) {
	var s Span
	for range 2 {
		s.Reset()
		s.TagText("a", "first")
		s.TagInt("b", 7)
		s.TagText("a", "second")
		s.TagFunc("c", func(dst []byte) []byte { return dst })
		got := ""
		s.Tags(func(k string, v []byte) { got += k + "=" + string(v) + " " })
		if got != "a=second b=7 " {
			t.Errorf("tags %s", got)
		}
	}
}

// TestNoAllocation: a request that is not sampled costs none.
func TestNoAllocation(t *testing.T) {
	c := &Config{Tracer: &recorder{}, Overall: match.All, Pack: true}
	var h header.Map
	info := &streaminfo.Stream{Conn: &streaminfo.Connection{}}
	var s, child Span
	once := func() {
		h.Reset()
		h.Add(header.XRequestID, untraced)
		h.Add(header.Authority, "a")
		s.Reset()
		child.Reset()
		reason := c.Decide(&h, nil, 1)
		c.Begin(&s, &h, info, nil, reason.Traced())
		s.IDs()
		child.Attempt(&s, "up")
		child.Inject(&h)
		child.FinishAttempt(&Attempt{}, info, nil)
		s.FinishRequest(info, nil)
	}
	once()
	if n := testing.AllocsPerRun(100, once); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
