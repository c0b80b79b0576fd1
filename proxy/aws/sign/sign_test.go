// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	awsv2 "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	smithycredentials "github.com/aws/smithy-go/aws-http-auth/credentials"
	"github.com/aws/smithy-go/aws-http-auth/sigv4"
	"github.com/aws/smithy-go/aws-http-auth/sigv4a"
	smithyv4 "github.com/aws/smithy-go/aws-http-auth/v4"

	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/match"
)

// The time, key and service of the vectors that AWS publishes.
var (
	vectorTime = time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	vectorKey  = &Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
	temporary  = &Credentials{AccessKeyID: "ASIAX", SecretAccessKey: "s3cr3t/+=", SessionToken: "to/ken+=="}
)

// request is a request in a test.
type request struct {
	method, path, host string
	fields             []string // name, value, name, value ...
	body               string
}

func (r *request) head() *header.Map {
	h := &header.Map{}
	h.Add(header.Method, r.method)
	h.Add(header.Path, r.path)
	h.Add(header.Authority, r.host)
	h.Add(header.Scheme, "https")
	for i := 0; i < len(r.fields); i += 2 {
		h.Add(header.NewName(r.fields[i]), r.fields[i+1])
	}
	return h
}

// http is the request as the SDK has it.
func (r *request) http(t testing.TB) *http.Request {
	t.Helper()
	u, err := url.ParseRequestURI("https://" + r.host + r.path)
	if err != nil {
		t.Fatal(err)
	}
	q := &http.Request{Method: r.method, URL: u, Host: r.host, Header: http.Header{}}
	for i := 0; i < len(r.fields); i += 2 {
		q.Header.Add(r.fields[i], r.fields[i+1])
	}
	return q
}

func (r *request) sum() []byte {
	sum := sha256.Sum256([]byte(r.body))
	return sum[:]
}

func (r *request) hash() string { return hex.EncodeToString(r.sum()) }

var requests = []request{
	{method: "GET", path: "/", host: "example.amazonaws.com"},
	{method: "POST", path: "/2015-03-31/functions/arn:aws:lambda:us-west-2:123456789012:function:hello:prod/invocations", host: "lambda.us-west-2.amazonaws.com",
		fields: []string{"content-type", "application/json", "x-amz-invocation-type", "RequestResponse", "accept", "*/*"}, body: `{"a":1}`},
	{method: "GET", path: "/a%20b/c+d/~e/%E1%88%B4", host: "h:8080", fields: []string{"x-a", "  one   two  three "}},
	{method: "GET", path: "/?b=2&a=3&a=1&c&d=%20x+y&e=a%2Bb&%C3%A4=%3D", host: "h:443"},
	{method: "PUT", path: "/x/", host: "h", fields: []string{"x-many", "b", "x-other", "z", "x-many", "a", "x-empty", ""}, body: "data"},
	{method: "DELETE", path: "/a(b)'c*!", host: "h", fields: []string{"user-agent", "curl", "x-amzn-trace-id", "1", "x-forwarded-for", "10.0.0.1"}},
}

func TestAgainstTheSDK(t *testing.T) {
	for _, service := range []string{"lambda", "s3"} {
		for _, c := range []*Credentials{vectorKey, temporary} {
			s := New(Options{Service: service, Region: "us-west-2"})
			for _, r := range requests {
				h := r.head()
				p := Hash([]byte(r.body))
				if err := s.Sign(h, &p, c, vectorTime); err != nil {
					t.Fatal(err)
				}
				q := r.http(t)
				q.Header.Set("X-Amz-Content-Sha256", r.hash())
				q.Header.Del("X-Forwarded-For") // Not signed here.
				for k, v := range q.Header {
					if v[0] == "" {
						delete(q.Header, k)
					}
				}
				err := v4.NewSigner().SignHTTP(context.Background(), awsv2.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken},
					q, r.hash(), service, "us-west-2", vectorTime, func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" })
				if err != nil {
					t.Fatal(err)
				}
				if got, want := string(h.Get(header.Authorization)), q.Header.Get("Authorization"); got != want {
					t.Errorf("%s %s for %s:\n%s\n%s", r.method, r.path, service, got, want)
				}
				if got := string(h.Get(amzToken)); got != c.SessionToken {
					t.Errorf("x-amz-security-token: %q", got)
				}
			}
		}
	}
}

// TestVectors signs as the suite that AWS publishes: paths that lead to another are
// signed like that.
func TestVectors(t *testing.T) {
	const vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
	for path, want := range map[string]string{
		"/": vanilla, "/example/..": vanilla, "/example1/example2/../..": vanilla, "//": vanilla, "/./": vanilla, "/../": vanilla,
	} {
		h := (&request{method: "GET", path: path, host: "example.amazonaws.com", fields: []string{"x-amz-content-sha256", ""}}).head()
		s := New(Options{Service: "service", Region: "us-east-1", Include: match.Strings{match.Exact("none")}})
		p := Hash(nil)
		// The vectors have no x-amz-content-sha256, which is taken away before the rest is done.
		w := &scratch{}
		k, err := s.keyOf(vectorKey, []byte("20150830"))
		if err != nil {
			t.Fatal(err)
		}
		h.SetBytes(amzDate, []byte("20150830T123600Z"))
		s.collect(h, w)
		s.canonical(h, []byte(path), &p, w)
		got, err := s.appendSignature(nil, k, []byte("20150830T123600Z"), w)
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", path, got, err)
		}
	}
	for path, want := range map[string]string{"/a//b/": "/a/b/", "/a/./b/../c": "/a/c", "": "/", "/..": "/", "/a/..//": "/", "/%2e": "/%252e"} {
		if got := string(New(Options{Service: "x"}).appendPath([]byte("GET\n/keep\n"), []byte(path))); got != "GET\n/keep\n"+want {
			t.Errorf("%q: %q", path, got)
		}
		if got := string(New(Options{Service: "S3"}).appendPath(nil, []byte(path))); got != path && (path != "" || got != "/") {
			t.Errorf("s3, %q: %q", path, got)
		}
	}
}

func TestQueryAgainstTheSDK(t *testing.T) {
	for _, c := range []*Credentials{vectorKey, temporary} {
		for _, path := range []string{"/", "/?a=1&b=%20", "/?X-Amz-Signature=old&X-Amz-Date=old&a=1&X-Amz-Security-Token=old"} {
			r := request{method: "GET", path: path, host: "example.amazonaws.com"}
			h := r.head()
			s := New(Options{Service: "service", Region: "us-east-1", Query: true, Expires: 10 * time.Second})
			p := Hash(nil)
			if err := s.Sign(h, &p, c, vectorTime); err != nil {
				t.Fatal(err)
			}
			r.path = strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(path, "X-Amz-Signature=old&", ""), "X-Amz-Date=old&", ""), "&X-Amz-Security-Token=old", "")
			q := r.http(t)
			q.URL.RawQuery += "&X-Amz-Expires=10"
			q.Header.Set("X-Amz-Content-Sha256", r.hash())
			want, _, err := v4.NewSigner().PresignHTTP(context.Background(), awsv2.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken},
				q, r.hash(), "service", "us-east-1", vectorTime, func(o *v4.SignerOptions) { o.DisableHeaderHoisting = true })
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(want)
			if err != nil {
				t.Fatal(err)
			}
			g, err := url.Parse(string(h.Get(header.Path)))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := g.Query().Encode(), u.Query().Encode(); got != want {
				t.Errorf("%s:\n%s\n%s", path, got, want)
			}
			if h.Has(header.Authorization) || h.Has(amzDate) || h.Has(amzToken) {
				t.Errorf("%s: signed in a header too", path)
			}
		}
	}
}

func TestV4AKey(t *testing.T) {
	k, err := derive(&Credentials{AccessKeyID: "AKISORANDOMAASORANDOM", SecretAccessKey: "q+jcrXGc+0zWN6uzclKVhvMmUsIfRPa4rlRandom"})
	if err != nil {
		t.Fatal(err)
	}
	pub, err := k.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	const want = "0415d242ceebf8d8169fd6a8b5a746c41140414c3b07579038da06af89190fffcb0515242cedd82e94799482e4c0514b505afccf2c0c98d6a553bf539f424c5ec0"
	if got := hex.EncodeToString(pub); got != want {
		t.Errorf("%s", got)
	}
}

// every is the rule that all fields are signed.
type every struct{}

func (every) IsSigned(string) bool { return true }

// TestV4AAgainstTheSDK: what smithy's signer signs is what is signed here.
func TestV4AAgainstTheSDK(t *testing.T) {
	for _, c := range []*Credentials{vectorKey, temporary} {
		for _, r := range requests[:5] {
			if r.path == "/a%20b/c+d/~e/%E1%88%B4" {
				r.fields = nil // Theirs keeps spaces within values.
			}
			s := New(Options{Algorithm: V4A, Service: "lambda", Region: "us-*,eu-west-1"})
			h := r.head()
			p := Hash([]byte(r.body))
			if err := s.Sign(h, &p, c, vectorTime); err != nil {
				t.Fatal(err)
			}
			q := r.http(t)
			q.Host = strings.TrimSuffix(q.Host, ":443")
			q.Header.Set("X-Amz-Content-Sha256", r.hash())
			q.Header.Del("X-Empty")
			err := sigv4a.New(func(o *smithyv4.SignerOptions) { o.HeaderRules = every{} }).SignRequest(&sigv4a.SignRequestInput{
				Request: q, PayloadHash: r.sum(), Service: "lambda", RegionSet: []string{"us-*", "eu-west-1"}, Time: vectorTime,
				Credentials: smithycredentials.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken},
			})
			if err != nil {
				t.Fatal(err)
			}
			theirs, ours := q.Header.Get("Authorization"), string(h.Get(header.Authorization))
			head, sig, _ := strings.Cut(theirs, "Signature=")
			if got, mine, _ := strings.Cut(ours, "Signature="); got != head || mine == sig {
				t.Fatalf("%s:\n%s\n%s", r.path, ours, theirs)
			}
			// Both signatures are of the text that is signed here.
			w := &scratch{}
			s.collect(h, w)
			s.canonical(h, h.Get(header.Path), &p, w)
			k, err := s.keyOf(c, []byte("20150830"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.appendSignature(nil, k, []byte("20150830T123600Z"), w); err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(w.text)
			for _, a := range []string{theirs, ours} {
				_, sig, _ := strings.Cut(a, "Signature=")
				der, err := hex.DecodeString(sig)
				if err != nil || !ecdsa.VerifyASN1(&k.ec.PublicKey, sum[:], der) {
					t.Errorf("%s: not a signature of the text: %s", r.path, a)
				}
			}
		}
	}
	s := New(Options{Algorithm: V4A, Service: "s3", Region: "*", Query: true, Expires: 5 * time.Second})
	h := requests[0].head()
	p := Unsigned()
	if err := s.Sign(h, &p, temporary, vectorTime); err != nil {
		t.Fatal(err)
	}
	if path := string(h.Get(header.Path)); !strings.Contains(path, "&X-Amz-Region-Set=%2A&X-Amz-Security-Token=to%2Fken%2B%3D%3D&") || h.Has(amzRegionSet) || string(h.Get(amzContent)) != "UNSIGNED-PAYLOAD" {
		t.Errorf("%s", path)
	}
}

func TestFieldsThatAreSigned(t *testing.T) {
	r := request{method: "GET", path: "/", host: "h", fields: []string{
		"content-type", "a/b", "x-a", "1", "x-b", "2", "x-envoy-retry-on", "5xx", "connection", "close", "x-amz-meta", "3", "user-agent", "u",
	}}
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"all", Options{}, "content-type;host;x-a;x-amz-content-sha256;x-amz-date;x-amz-meta;x-b"},
		{"exclude", Options{Exclude: match.Strings{match.Exact("x-a"), match.Prefix("content-"), match.Prefix("x-am")}}, "host;x-amz-content-sha256;x-amz-date;x-b"},
		{"include", Options{Include: match.Strings{match.Exact("x-b")}, Exclude: match.Strings{match.Exact("x-b")}}, "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-meta;x-b"},
	}
	for _, tt := range tests {
		h := r.head()
		p := Hash(nil)
		if err := New(tt.o).Sign(h, &p, vectorKey, vectorTime); err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(h.Get(header.Authorization)), "SignedHeaders=")
		if got, _, _ := strings.Cut(after, ","); got != tt.want {
			t.Errorf("%s: %s", tt.name, got)
		}
	}
}

// TestAgain: a second signature replaces the first, and another day or key is another
// signature.
func TestAgain(t *testing.T) {
	s := New(Options{Service: "lambda", Region: "r"})
	r := requests[1]
	h := r.head()
	p := Hash([]byte(r.body))
	var seen []string
	for _, at := range []time.Time{vectorTime, vectorTime.Add(24 * time.Hour), vectorTime} {
		for _, c := range []*Credentials{temporary, vectorKey} {
			if err := s.Sign(h, &p, c, at); err != nil {
				t.Fatal(err)
			}
			if h.Count(header.Authorization) != 1 || h.Count(amzDate) != 1 || h.Has(amzToken) != (c == temporary) {
				t.Error("fields are left of a former signature")
			}
			seen = append(seen, string(h.Get(header.Authorization)))
		}
	}
	if seen[0] != seen[4] || seen[1] != seen[5] {
		t.Error("the same request has another signature")
	}
	slices.Sort(seen)
	if n := len(slices.Compact(seen)); n != 4 {
		t.Errorf("%d signatures", n)
	}
	if err := s.Sign(&header.Map{}, &p, vectorKey, vectorTime); err == nil {
		t.Error("a request without method is signed")
	}
}

func TestNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, o := range []Options{{Service: "lambda", Region: "us-west-2"}, {Service: "s3", Region: "us-west-2", Query: true, Expires: time.Second}} {
		s := New(o)
		r := requests[1]
		r.path += "?a=b&c=d"
		h := r.head()
		body := []byte(r.body)
		n := testing.AllocsPerRun(100, func() {
			h.Reset()
			h.Add(header.Method, r.method)
			h.Add(header.Path, r.path)
			h.Add(header.Authority, r.host)
			h.Add(header.ContentType, "application/json")
			p := Hash(body)
			if err := s.Sign(h, &p, temporary, vectorTime); err != nil {
				t.Fatal(err)
			}
		})
		if n != 0 {
			t.Errorf("query %v: %v allocations", o.Query, n)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	s := New(Options{Service: "lambda", Region: "us-west-2"})
	r := requests[1]
	h := r.head()
	body := []byte(r.body)
	b.ReportAllocs()
	for b.Loop() {
		h.Reset()
		h.Add(header.Method, r.method)
		h.Add(header.Path, r.path)
		h.Add(header.Authority, r.host)
		p := Hash(body)
		if err := s.Sign(h, &p, temporary, vectorTime); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzSign compares with smithy's signer over whatever it can be asked for.
func FuzzSign(f *testing.F) {
	for _, r := range requests {
		_, query, _ := strings.Cut(r.path, "?")
		f.Add(query, "  a  value ")
	}
	f.Add("a=%zz&%=&&=&a;b=c", "\x7f\xff")
	f.Fuzz(func(t *testing.T, query, value string) {
		s := New(Options{Service: "lambda", Region: "us-west-2"})
		r := request{method: "GET", path: "/p?" + query, host: "h", fields: []string{"x-value", value}}
		h := r.head()
		p := Hash(nil)
		if err := s.Sign(h, &p, vectorKey, vectorTime); err != nil {
			t.Fatal(err)
		}
		u, err := url.ParseRequestURI("https://h" + r.path)
		if err != nil || u.EscapedPath() != "/p" {
			return
		}
		if _, err := url.ParseQuery(u.RawQuery); err != nil || value != strings.Trim(value, " \t\r\n\v\f") || value == "" || strings.ContainsAny(value, "\t\r\n\v\f") || strings.Contains(value, "  ") || strings.Contains(query, "#") {
			return // Theirs leaves out what it cannot read, or has another view of white space.
		}
		q := r.http(t)
		q.Header.Set("X-Amz-Content-Sha256", r.hash())
		err = sigv4.New(func(o *smithyv4.SignerOptions) { o.HeaderRules = every{} }).SignRequest(&sigv4.SignRequestInput{
			Request: q, PayloadHash: r.sum(), Service: "lambda", Region: "us-west-2", Time: vectorTime,
			Credentials: smithycredentials.Credentials{AccessKeyID: vectorKey.AccessKeyID, SecretAccessKey: vectorKey.SecretAccessKey},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(h.Get(header.Authorization)), q.Header.Get("Authorization"); got != want {
			t.Errorf("%q %q:\n%s\n%s", query, value, got, want)
		}
	})
}
