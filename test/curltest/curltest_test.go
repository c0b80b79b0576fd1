// SPDX-License-Identifier: Apache-2.0

package curltest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"weir.dev/weir/internal/echo"
	"weir.dev/weir/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m) }

func TestParse(t *testing.T) {
	tests := []struct {
		line string
		want *Command
	}{
		{"curl http://a/", &Command{Method: "GET", URL: "http://a/", Header: http.Header{}}},
		{"curl -si 'http://a/?x=1&y=2'", &Command{Method: "GET", URL: "http://a/?x=1&y=2", Header: http.Header{}, ShowHead: true}},
		{`curl -X PUT -H "X-A: b c" -H host:\ shop http://a/`, &Command{Method: "PUT", URL: "http://a/", Header: http.Header{"X-A": {"b c"}}, Host: "shop"}},
		{"curl --data x=1 http://a/ --include", &Command{Method: "POST", URL: "http://a/", Header: http.Header{}, Body: "x=1", ShowHead: true}},
		{"curl -si -m 1.5 http://a/", &Command{Method: "GET", URL: "http://a/", Header: http.Header{}, ShowHead: true, MaxTime: 1500 * time.Millisecond}},
		{"curl -I http://a/", &Command{Method: "HEAD", URL: "http://a/", Header: http.Header{}, ShowHead: true}},
	}
	for _, tt := range tests {
		got, err := Parse(tt.line)
		if err != nil {
			t.Errorf("%s: %v", tt.line, err)
			continue
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.line, d)
		}
	}
	for _, bad := range []string{
		"", "wget http://a/", "curl", "curl -k http://a/", "curl http://a/ http://b/", "curl -H", "curl -H novalue http://a/",
		"curl http://a/?x=1&y=2", "curl http://a/ | jq .", "curl 'http://a/", "curl \"$URL\"", "curl -Hs x: http://a/",
		"curl -m soon http://a/", "curl -m 0 http://a/",
	} {
		if c, err := Parse(bad); err == nil {
			t.Errorf("%q passed as %+v", bad, c)
		}
	}
}

func TestDo(t *testing.T) {
	s := httptest.NewServer(echo.Handler("orders"))
	defer s.Close()
	run := func(line string) string {
		t.Helper()
		c, err := Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.Do()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := run("curl -s -H 'Host: shop' " + s.URL + "/a"); !strings.Contains(out, `"host":"shop"`) || strings.HasPrefix(out, "HTTP") {
		t.Errorf("got %s", out)
	}
	out := run("curl -i -H 'x-echo-status: 302' -H 'x-echo-set-header: location: /b' -H 'x-echo-size: 0' " + s.URL + "/a")
	if !strings.HasPrefix(out, "HTTP/1.1 302 Found\ncontent-length: 0\n") || !strings.Contains(out, "\nlocation: /b\n") || !strings.HasSuffix(out, "\n\n") {
		t.Errorf("got %s", out)
	}
}
