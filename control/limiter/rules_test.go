// SPDX-License-Identifier: Apache-2.0

package limiter

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"weir.dev/weir/internal/leak"
	"weir.dev/weir/xds"
)

func TestMain(m *testing.M) { leak.Main(m) }

// domains parses configuration.
func domains(t testing.TB, text string) []Domain {
	t.Helper()
	out, problems := Parse("limits.yaml", []byte(text))
	if len(problems) > 0 {
		t.Fatal(xds.Err(problems))
	}
	return out
}

// claim reads a descriptor such as "user=ann,path=/".
func claim(text string) Claim {
	var c Claim
	for _, e := range strings.Split(text, ",") {
		k, v, _ := strings.Cut(e, "=")
		c.Entries = append(c.Entries, Entry{k, []byte(v)})
	}
	return c
}

// alone is a limiter with a clock that stands, and a way to set it.
func alone(t testing.TB, text string, o Options) (*Limiter, *time.Time) {
	t.Helper()
	now := time.Unix(1_700_000_000, 0)
	o.Now = func() time.Time { return now }
	l := New(o)
	t.Cleanup(l.Close)
	if err := l.Set(domains(t, text)); err != nil {
		t.Fatal(err)
	}
	return l, &now
}

// ask sends one request with its descriptors, which are separated by "; ", and returns
// what each is answered, or the error.
func ask(l *Limiter, domain string, hits uint64, text string) string {
	r := &Request{Domain: domain, Hits: hits}
	for _, c := range strings.Split(text, "; ") {
		r.Claims = append(r.Claims, claim(c))
	}
	if !l.Ask(r, nil) {
		return "later"
	}
	return answer(r)
}

func answer(r *Request) string {
	if r.Err != nil {
		return r.Err.Error()
	}
	out := []string{"ok"}
	if r.Over {
		out[0] = "over"
	}
	for _, s := range r.Statuses {
		switch {
		case s.Unlimited:
			out = append(out, "unlimited")
		case !s.Limited:
			out = append(out, "-")
		case s.Over:
			out = append(out, fmt.Sprintf("over %d/%s", s.Requests, s.Unit))
		default:
			out = append(out, fmt.Sprintf("%d of %d/%s", s.Remaining, s.Requests, s.Unit))
		}
	}
	return strings.Join(out, ", ")
}

const examples = `
domain: web
descriptors:
  - key: database
    value: users
    rate_limit: {unit: second, requests_per_unit: 500}
  - key: kind
    value: marketing
    descriptors:
      - key: number
        rate_limit: {unit: day, requests_per_unit: 5}
  - key: number
    rate_limit: {unit: DAY, requests_per_unit: 100}
  - key: address
    rate_limit: {unit: second, requests_per_unit: 10}
  - key: address
    value: 50.0.0.5
    rate_limit: {unit: second, requests_per_unit: 0}
  - key: ldap
    rate_limit: {unlimited: true}
  - key: shady
    shadow_mode: true
    rate_limit: {unit: week, requests_per_unit: 1}
  - key: a
    descriptors:
      - key: user
        rate_limit: {name: specific, unit: minute, requests_per_unit: 5}
  - key: b
    descriptors:
      - key: user
        rate_limit: {unit: minute, requests_per_unit: 10, replaces: [{name: specific}]}
  - key: path
    value: /api/*/action
    rate_limit: {unit: hour, requests_per_unit: 20}
  - key: path
    value: /files/*
    share_threshold: true
    rate_limit: {unit: hour, requests_per_unit: 2}
  - key: path
    value: /own/*
    rate_limit: {unit: hour, requests_per_unit: 1}
  - {key: q1, quota_mode: true, rate_limit: {unit: month, requests_per_unit: 1}}
  - {key: q2, quota_mode: true, rate_limit: {unit: year, requests_per_unit: 2}}
  - {key: nothing}
`

// TestRules: limits are found as Envoy's reference implementation finds them.
func TestRules(t *testing.T) {
	tests := []struct {
		name     string
		asked    []string
		domain   string
		expected string
	}{
		{"exactly", []string{"database=users"}, "web", "ok, 499 of 500/SECOND"},
		{"not this value", []string{"database=other"}, "web", "ok, -"},
		{"nested", []string{"kind=marketing,number=1"}, "web", "ok, 4 of 5/DAY"},
		{"each value by itself", []string{"kind=marketing,number=1", "kind=marketing,number=2"}, "web", "ok, 4 of 5/DAY"},
		{"two descriptors", []string{"kind=marketing,number=1; number=1"}, "web", "ok, 4 of 5/DAY, 99 of 100/DAY"},
		{"not deep enough", []string{"kind=marketing"}, "web", "ok, -"},
		{"too deep", []string{"database=users,x=y"}, "web", "ok, -"},
		{"any value", []string{"address=1.2.3.4"}, "web", "ok, 9 of 10/SECOND"},
		{"none at all", []string{"address=50.0.0.5"}, "web", "over, over 0/SECOND"},
		{"unlimited", []string{"ldap=x"}, "web", "ok, unlimited"},
		{"shadow", []string{"shady=x", "shady=x"}, "web", "ok, 0 of 1/WEEK"},
		{"replaced", []string{"a=1,user=u; b=1,user=u"}, "web", "ok, -, 9 of 10/MINUTE"},
		{"a star within", []string{"path=/api/7/action"}, "web", "ok, 19 of 20/HOUR"},
		{"a star that does not match", []string{"path=/api/7/other"}, "web", "ok, -"},
		{"a shared star", []string{"path=/files/a", "path=/files/b", "path=/files/c"}, "web", "over, over 2/HOUR"},
		{"a star for each", []string{"path=/own/a", "path=/own/b"}, "web", "ok, 0 of 1/HOUR"},
		{"one quota of two", []string{"q1=x; q2=x", "q1=x; q2=x"}, "web", "ok, over 1/MONTH, 0 of 2/YEAR"},
		{"both quotas", []string{"q1=x; q2=x", "q1=x; q2=x", "q1=x; q2=x"}, "web", "over, over 1/MONTH, over 2/YEAR"},
		{"no limit", []string{"nothing=x"}, "web", "ok, -"},
		{"another domain", []string{"database=users"}, "other", "ok, -"},
		{"no domain", []string{"database=users"}, "", ErrNoDomain.Error()},
	}
	for _, tt := range tests {
		l, _ := alone(t, examples, Options{})
		got := ""
		for _, a := range tt.asked {
			got = ask(l, tt.domain, 0, a)
		}
		if got != tt.expected {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.expected)
		}
	}
	l, _ := alone(t, examples, Options{})
	if r := (&Request{Domain: "web"}); !l.Ask(r, nil) || r.Err != ErrNoClaims {
		t.Errorf("without descriptors: %v", r.Err)
	}
}

// TestOverride: a descriptor's own limit comes before what is configured.
func TestOverride(t *testing.T) {
	l, _ := alone(t, examples, Options{})
	r := &Request{Domain: "web", Claims: []Claim{claim("database=users")}}
	r.Claims[0].Limit = Limit{Requests: 1, Unit: Hour, Seconds: 3600}
	for i, want := range []string{"ok, 0 of 1/HOUR", "over, over 1/HOUR"} {
		if l.Ask(r, nil); answer(r) != want {
			t.Errorf("%d: %s, want %s", i, answer(r), want)
		}
	}
}

// TestNames: statistics have the names that Envoy's rate limit service gives them.
func TestNames(t *testing.T) {
	l, _ := alone(t, `
domain: d
descriptors:
  - key: plain
    rate_limit: {unit: second, requests_per_unit: 1}
  - key: detailed
    detailed_metric: true
    rate_limit: {unit: second, requests_per_unit: 1}
  - key: route
    value_to_metric: true
    descriptors:
      - key: method
        value: G*
        descriptors:
          - key: subject
            rate_limit: {unit: minute, requests_per_unit: 60}
  - key: file
    value: a*
    share_threshold: true
    value_to_metric: true
    rate_limit: {unit: minute, requests_per_unit: 60}
`, Options{})
	for _, a := range []string{"plain=x", "plain=x", "detailed=x", "route=api,method=GET,subject=1", "file=abc"} {
		ask(l, "d", 0, a)
	}
	want := map[string]uint64{
		"rate_limit.d.plain.total_hits": 2, "rate_limit.d.plain.within_limit": 1, "rate_limit.d.plain.over_limit": 1,
		"rate_limit.d.detailed_x.total_hits": 1, "rate_limit.d.route_api.method_G*.subject.total_hits": 1, "rate_limit.d.file_a*.total_hits": 1,
	}
	for name, n := range l.Stats().All() {
		if w, ok := want[name]; ok && n == w {
			delete(want, name)
		}
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// TestKeys: no value makes a key that is another's.
func TestKeys(t *testing.T) {
	l, _ := alone(t, `
domain: d
descriptors:
  - {key: a, rate_limit: {unit: hour, requests_per_unit: 1}, descriptors: [{key: b, rate_limit: {unit: hour, requests_per_unit: 1}}]}
`, Options{})
	for _, a := range []string{"a=1,b=2", "a=1|b=2", "a=1%7Cb=2", "a=" + strings.Repeat("x", 500), "a=" + strings.Repeat("x", 501)} {
		if got := ask(l, "d", 0, a); got != "ok, 0 of 1/HOUR" {
			t.Errorf("%.20s: %s", a, got)
		}
	}
	for i := range l.shards {
		for k := range l.shards[i].counters {
			if len(k) > maxKey {
				t.Errorf("a key of %d bytes", len(k))
			}
		}
	}
}

func TestProblems(t *testing.T) {
	limit := "rate_limit: {unit: second, requests_per_unit: 1}"
	tests := []struct{ text, want string }{
		{"descriptors: []", "limits.yaml:1: domain is missing: give the domain that filters ask about"},
		{"domain: d\nfoo: 1", `limits.yaml:2: unknown field "foo"`},
		{"domain: d\ndescriptors:\n- {key: a, valeu: b}", `limits.yaml:3: descriptors[0]: unknown field "valeu": did you mean "value"?`},
		{"domain: d\ndescriptors:\n- {value: b}", "limits.yaml:1: domain \"d\": descriptors[0].key: is missing"},
		{"domain: d\ndescriptors:\n- {key: a}\n- {key: a}", "limits.yaml:1: domain \"d\": descriptors[1]: has the key and value of descriptors[0] beside it: put both together, or remove one"},
		{"domain: d\ndescriptors:\n- {key: a, rate_limit: {unit: fortnight, requests_per_unit: 1}}", `limits.yaml:3: descriptors[0].rate_limit.unit: "fortnight" is no unit: use second, minute, hour, day, week, month or year`},
		{"domain: d\ndescriptors:\n- {key: a, rate_limit: {requests_per_unit: 1}}", `limits.yaml:1: domain "d": descriptors[0].rate_limit.unit: is missing: use second, minute, hour, day, week, month or year`},
		{"domain: d\ndescriptors:\n- {key: a, rate_limit: {unit: second, requests_per_unit: -1}}", `limits.yaml:3: descriptors[0].rate_limit.requests_per_unit: "-1" is not a number from 0 to 4294967295`},
		{"domain: d\ndescriptors:\n- {key: a, rate_limit: {unit: second, unlimited: true}}", `limits.yaml:1: domain "d": descriptors[0].rate_limit.unit: has no meaning beside unlimited: remove one of both`},
		{"domain: d\ndescriptors:\n- {key: a, share_threshold: true, " + limit + "}", `limits.yaml:1: domain "d": descriptors[0].share_threshold: has no meaning for the value "": give a value with *`},
		{"domain: d\ndescriptors:\n- {key: a, shadow_mode: maybe}", `limits.yaml:3: descriptors[0].shadow_mode: "maybe" is neither true nor false`},
		{"domain: d\ndescriptors:\n- {key: a, rate_limit: {name: n, unit: second, replaces: [{name: n}]}}", `limits.yaml:1: domain "d": descriptors[0].rate_limit.replaces[0].name: "n" is this limit's own name: a limit replaces others`},
		{"domain: d\ndescriptors: 7", "limits.yaml:2: descriptors: is not a list"},
	}
	for _, tt := range tests {
		_, problems := Parse("limits.yaml", []byte(tt.text))
		if len(problems) != 1 {
			t.Errorf("%q: %d problems: %v", tt.text, len(problems), problems)
			continue
		}
		p := problems[0]
		p.Column = 0
		if p.Error() != tt.want {
			t.Errorf("%q:\n     %s\nwant %s", tt.text, p.Error(), tt.want)
		}
	}
	l, _ := alone(t, examples, Options{})
	if err := l.Set(domains(t, "domain: d\n---\ndomain: d")); err == nil || err.Error() != `limits.yaml: domain "d" is that of limits.yaml, too: put both together, or rename one` {
		t.Errorf("two of a name: %v", err)
	}
	if l.Rules().Domains() != 1 {
		t.Error("what was refused is used")
	}
}

// TestMessage: a domain becomes a message and is the same again.
func TestMessage(t *testing.T) {
	first := domains(t, `
domain: d
descriptors:
  - {key: a, value: b, shadow_mode: true, rate_limit: {unit: week, requests_per_unit: 7, name: x, replaces: [{name: y}]}, descriptors: [{key: c, detailed_metric: true, rate_limit: {unlimited: true}}]}
`)[0]
	again, err := FromMessage(first.Message())
	if err != nil {
		t.Fatal(err)
	}
	if a, b := first.Message(), again.Message(); !proto.Equal(a, b) {
		t.Errorf("%v, want %v", b, a)
	}
	m := first.Message()
	m.Descriptors[0].Key = ""
	if _, err := FromMessage(m); err == nil {
		t.Error("a descriptor without a key is taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(examples))
	f.Add([]byte("domain: d\ndescriptors: &a [{key: x, metadata: {a: [1, {b: c}]}, descriptors: *a}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, problems := Parse("f", data)
		if xds.HasErrors(problems) {
			return
		}
		l := New(Options{})
		if err := l.Set(list); err != nil && len(list) < 2 {
			t.Errorf("what was parsed is refused: %v", err)
		}
		for _, d := range list {
			ask(l, d.Name, 1, "a=b,c=d")
		}
	})
}
