// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir.dev/weir/test/curltest"
	"weir.dev/weir/test/weirtest"
)

const moduleRoot = "../.."

// quickstart runs the example, on ports of its own, and waits until it is ready.
func quickstart(t *testing.T, flags ...string) (weirtest.Folder, *weirtest.Process) {
	t.Helper()
	f := weirtest.Quickstart(t, moduleRoot)
	p := weirtest.Start(t, append([]string{"run", f.Path}, flags...)...)
	p.WaitFor("Ready.")
	return f, p
}

// folder is an empty one, with a free port for each of those that are named.
func folder(t *testing.T, ports ...string) weirtest.Folder {
	f := weirtest.Folder{Path: t.TempDir(), Example: "no example", Ports: map[string]string{}}
	for _, p := range ports {
		f.Ports[p] = weirtest.FreePort(t)
	}
	return f
}

// serveObjects has a process serve objects, in a file of a folder.
func serveObjects(t *testing.T, f weirtest.Folder, objects []byte) *weirtest.Process {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.Path, "objects.yaml"), objects, 0o600); err != nil {
		t.Fatal(err)
	}
	p := weirtest.Start(t, f.Run("--drain-strategy", "immediate")...)
	p.WaitFor("Ready.")
	return p
}

// curl runs a line of the example against its copy.
func curl(t *testing.T, f weirtest.Folder, line string) string {
	t.Helper()
	c, err := curltest.Parse(f.Here(line))
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.Do()
	if err != nil {
		t.Fatal(err)
	}
	return f.There(out)
}

func TestQuickstartAnswers(t *testing.T) {
	f, p := quickstart(t)
	printed := regexp.MustCompile(`(?m)^  (curl .*)$`).FindAllStringSubmatch(f.There(p.Output()), -1)
	if len(printed) != 3 {
		t.Fatalf("%d curl lines are printed, want 3", len(printed))
	}
	wants := [][]string{
		{`"name":"orders"`, `"path":"/orders/7"`, `"x-request-id":[`, `"x-forwarded-for":["127.0.0.1"]`},
		{`"name":"users"`, `"path":"/42"`, `"x-sidecar":["users"]`},
		{"HTTP/1.1 301 Moved Permanently\n", "location: http://127.0.0.1:8080/orders/7\n"},
	}
	for i, line := range printed {
		got := curl(t, f, line[1])
		for _, want := range wants[i] {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q is missing in:\n%s", line[1], want, got)
			}
		}
	}
	if !strings.Contains(f.There(p.Output()), "admin http://127.0.0.1:9901/") {
		t.Error("the admin's address is not printed")
	}
	if got := curl(t, f, "curl -s http://127.0.0.1:9901/ready"); got != "LIVE\n" {
		t.Errorf("/ready says %q", got)
	}
	p.Signal(syscall.SIGTERM)
	if status := p.Wait(20 * time.Second); status != 0 {
		t.Errorf("status %d after SIGTERM", status)
	}
}

// TestTermUnderLoad ends the quickstart while 32 connections are busy, half of them through the sidecar: no
// request may fail.
func TestTermUnderLoad(t *testing.T) {
	f, p := quickstart(t, "--drain-time-s", "20", "--drain-strategy", "immediate")
	address := f.Here("127.0.0.1:8080")
	loads := []*load{startLoad(address, "/orders/1", 16), startLoad(address, "/users/1", 16)}
	enough := func() bool { return loads[0].answered.Load() > 2000 && loads[1].answered.Load() > 1000 }
	for deadline := time.Now().Add(20 * time.Second); !enough(); {
		if time.Now().After(deadline) {
			t.Fatal("too few requests are answered to be a load")
		}
		<-time.After(10 * time.Millisecond)
	}
	for _, l := range loads {
		l.leaving.Store(true) // What a balancer in front would know: nothing new goes there from now on.
	}
	before := loads[0].answered.Load() + loads[1].answered.Load()
	p.Signal(syscall.SIGTERM)
	status := p.Wait(40 * time.Second)
	for _, l := range loads {
		l.stopping.Store(true)
		for _, err := range l.wait() {
			t.Errorf("%s: %v", l.target, err)
		}
		if l.closes.Load() < 16 {
			t.Errorf("%s: %d of 16 connections were asked to close", l.target, l.closes.Load())
		}
	}
	if status != 0 {
		t.Errorf("status %d", status)
	}
	t.Logf("%d requests before the signal, %d after it", before, loads[0].answered.Load()+loads[1].answered.Load()-before)
}

// TestSlowRequestFinishes holds one request in flight over the signal.
func TestSlowRequestFinishes(t *testing.T) {
	f, p := quickstart(t, "--drain-time-s", "20")
	c := slowRequest(t, f, "1s")
	p.Signal(syscall.SIGTERM)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("the request in flight got no answer: %v", err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"name":"orders"`) {
		t.Errorf("the request in flight got %s %q, %v", resp.Status, body, err)
	}
	_ = c.Close()
	if status := p.Wait(20 * time.Second); status != 0 {
		t.Errorf("status %d", status)
	}
}

func TestSecondTermEndsAtOnce(t *testing.T) {
	f, p := quickstart(t)
	slowRequest(t, f, "1m")
	p.Signal(syscall.SIGTERM)
	p.WaitFor("draining")
	p.Signal(syscall.SIGTERM)
	if status := p.Wait(30 * time.Second); status != 1 { // Half of what the request takes.
		t.Errorf("status %d, want 1", status)
	}
	if !strings.Contains(p.Output(), "second signal") {
		t.Error("the log does not say why")
	}
}

// slowRequest sends a request that the backend answers after a while, and returns once the backend has it.
func slowRequest(t *testing.T, f weirtest.Folder, delay string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", f.Here("127.0.0.1:8080"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "GET /orders/1?delay=%s HTTP/1.1\r\nhost: a\r\n\r\n", delay); err != nil {
		t.Fatal(err)
	}
	active := regexp.MustCompile(`cluster\.orders\.upstream_rq_active: [1-9]`)
	for deadline := time.Now().Add(10 * time.Second); !active.MatchString(curl(t, f, "curl -s http://127.0.0.1:9901/stats")); {
		if time.Now().After(deadline) {
			t.Fatal("the stats show no active request")
		}
		<-time.After(10 * time.Millisecond)
	}
	return c
}

func TestTypoIsRefused(t *testing.T) {
	f := weirtest.Quickstart(t, moduleRoot)
	line := f.Edit(t, "edge.yaml", "virtual_hosts:", "virtual_host:")
	want := []string{fmt.Sprintf("edge.yaml:%d:", line), `"virtual_host"`, `did you mean "virtual_hosts"?`}
	for _, args := range [][]string{
		{"run", f.Path},
		{"proxy", "-c", filepath.Join(f.Path, "edge.yaml")},
		{"proxy", "-c", filepath.Join(f.Path, "edge.yaml"), "--mode", "validate"},
	} {
		out, status := weirtest.Run(t, "", args...)
		if status != 1 {
			t.Errorf("%s: status %d, want 1", strings.Join(args, " "), status)
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: %q is missing in:\n%s", strings.Join(args, " "), w, out)
			}
		}
	}
}

func TestProxyProcess(t *testing.T) {
	f := weirtest.Quickstart(t, moduleRoot)
	edge := filepath.Join(f.Path, "edge.yaml")
	if out, status := weirtest.Run(t, "", "proxy", "-c", edge, "--mode", "validate"); status != 0 || out != "configuration '"+edge+"' OK\n" {
		t.Fatalf("validate: status %d, %s", status, out)
	}
	adminPath := filepath.Join(f.Path, "admin.txt")
	p := weirtest.Start(t, "proxy", "-c", edge, "--config-yaml", "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}",
		"--admin-address-path", adminPath, "--service-node", "edge-1", "--base-id", "3")
	p.WaitFor("admin listening")
	for _, want := range []string{"[warning][main] --base-id has no effect", "[info][main] listening address=" + f.Here("127.0.0.1:8080")} {
		if !strings.Contains(p.Output(), want) {
			t.Errorf("%q is missing in the log", want)
		}
	}
	admin, err := os.ReadFile(adminPath)
	if err != nil {
		t.Fatal(err)
	}
	info := curl(t, f, "curl -s http://"+string(admin)+"/server_info")
	if !strings.Contains(info, "edge-1") || !strings.Contains(info, "LIVE") {
		t.Errorf("/server_info: %s", info)
	}
	// No backend runs: the edge answers by itself.
	if got := curl(t, f, "curl -si http://127.0.0.1:8080/orders/7"); !strings.HasPrefix(got, "HTTP/1.1 503 ") {
		t.Errorf("without a backend: %s", got)
	}
	if got := curl(t, f, "curl -si http://127.0.0.1:8080/nowhere"); !strings.HasPrefix(got, "HTTP/1.1 404 ") {
		t.Errorf("without a route: %s", got)
	}
	p.Signal(syscall.SIGINT)
	if status := p.Wait(20 * time.Second); status != 0 {
		t.Errorf("status %d after SIGINT", status)
	}
}

// TestKeptConnectionsDoNotHoldUpTheEnd: once the edge has drained, the connections that it keeps to the sidecar
// are closed, and are nothing for the sidecar to wait for.
func TestKeptConnectionsDoNotHoldUpTheEnd(t *testing.T) {
	f, p := quickstart(t)
	curl(t, f, "curl -s http://127.0.0.1:8080/users/42")
	began := time.Now()
	p.Signal(syscall.SIGTERM)
	if status := p.Wait(20 * time.Second); status != 0 {
		t.Errorf("status %d", status)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("took %v: somebody waited for a connection that nobody uses", took)
	}
}
