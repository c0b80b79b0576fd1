// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"weir.dev/weir/test/weirtest"
)

// example runs one of the examples, on ports of its own, and waits until it is ready. That the lines of its
// README are true is tested with the other documents.
func example(t *testing.T, folder string) weirtest.Folder {
	t.Helper()
	f := weirtest.Example(t, moduleRoot, folder)
	weirtest.Start(t, "run", f.Path).WaitFor("Ready.")
	return f
}

func TestCanaryWeights(t *testing.T) {
	f := example(t, "examples/envoy/canary")
	const requests = 500
	canary := 0
	for range requests {
		out := curl(t, f, "curl -si http://127.0.0.1:8080/")
		marked, isV2 := strings.Contains(out, "x-canary: yes\n"), strings.Contains(out, `"name":"v2"`)
		if marked != isV2 {
			t.Fatalf("x-canary and the version differ:\n%s", out)
		}
		if isV2 {
			canary++
		}
	}
	// 50 are expected; outside of this lies less than one run in a million.
	if canary < 15 || canary > 95 {
		t.Errorf("%d of %d requests met v2, want about a tenth", canary, requests)
	}
}

func TestHalfOfTheHostsAreDown(t *testing.T) {
	f := example(t, "examples/envoy/retries-and-timeouts")
	retried := false
	for range 20 {
		out := curl(t, f, "curl -si http://127.0.0.1:8080/half")
		if !strings.HasPrefix(out, "HTTP/1.1 200 OK\n") {
			t.Fatalf("a request met the host that is down:\n%s", out)
		}
		retried = retried || strings.Contains(out, "x-envoy-attempt-count: 2\n")
	}
	if !retried {
		t.Error("no request was tried twice")
	}
}

func TestOutlierIsLeftOut(t *testing.T) {
	f := example(t, "examples/envoy/outlier-detection")
	if out := curl(t, f, "curl -si http://127.0.0.1:8080/trouble"); !strings.HasPrefix(out, "HTTP/1.1 503 ") {
		t.Fatalf("the host that is ill answers\n%s", out)
	}
	// It is ejected beside the requests.
	for late := time.Now().Add(20 * time.Second); !strings.Contains(curl(t, f, "curl -s http://127.0.0.1:9901/clusters"), "/failed_outlier_check"); {
		if time.Now().After(late) {
			t.Fatal("the host that is ill is not ejected")
		}
		<-time.After(5 * time.Millisecond)
	}
	for range 20 {
		if out := curl(t, f, "curl -s http://127.0.0.1:8080/"); !strings.Contains(out, `"name":"well"`) {
			t.Fatalf("after it failed another host answers than the one that is well:\n%s", out)
		}
	}
}

func TestASlowHostIsHedged(t *testing.T) {
	f := example(t, "examples/envoy/hedging")
	hedged := false
	for range 8 {
		begun := time.Now()
		out := curl(t, f, "curl -si http://127.0.0.1:8080/")
		if !strings.HasPrefix(out, "HTTP/1.1 200 OK\n") {
			t.Fatalf("a request failed:\n%s", out)
		}
		if d := time.Since(begun); d >= 5*time.Second {
			t.Errorf("a request took %v, as long as the slow host", d)
		}
		hedged = hedged || strings.Contains(out, "x-envoy-attempt-count: 2\n")
	}
	if !hedged {
		t.Error("no request was hedged")
	}
}

func TestWebSocketFrames(t *testing.T) {
	f := example(t, "examples/envoy/websocket")
	c, err := net.Dial("tcp", f.Here("127.0.0.1:8080"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	const head = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	if _, err := io.WriteString(c, head); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v; want 101", resp, err)
	}
	// A client's frames are masked, here with zeros; a server's are not.
	for _, word := range []string{"one", "two", "three"} {
		if _, err := io.WriteString(c, string([]byte{0x81, 0x80 | byte(len(word)), 0, 0, 0, 0})+word); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 2+len(word))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != "\x81"+string([]byte{byte(len(word))})+word {
			t.Errorf("sent %q, got %q, %v", word, got, err)
		}
	}
	if _, err := io.WriteString(c, "\x88\x80\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(r); err != nil || string(rest) != "\x88\x00" {
		t.Errorf("after the end of the WebSocket: %q, %v", rest, err)
	}
}

func TestOnlyHealthyHostsAreAsked(t *testing.T) {
	f := example(t, "examples/envoy/health-checks")
	for range 20 {
		if out := curl(t, f, "curl -si http://127.0.0.1:8080/"); !strings.HasPrefix(out, "HTTP/1.1 200 OK\n") {
			t.Fatalf("a request met the host that is down:\n%s", out)
		}
	}
	if out := curl(t, f, "curl -s http://127.0.0.1:9901/clusters"); strings.Count(out, "::health_flags::healthy\n") != 1 || strings.Count(out, "::health_flags::/failed_active_hc\n") != 1 {
		t.Errorf("the health flags are\n%s", out)
	}
}
