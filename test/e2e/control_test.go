// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir.dev/weir/test/weirtest"
)

// TestControl serves the quickstart's Gateway to a proxy of another process, by both protocols, whose files are those of
// examples/envoy/dynamic-control-plane: a change arrives, traffic goes on without the control plane, and changes go on
// when it is back.
func TestControl(t *testing.T) {
	for _, protocol := range []string{"deltas", "states"} {
		t.Run(protocol, func(t *testing.T) {
			asks, err := os.ReadFile(filepath.Join(moduleRoot, "examples/envoy/dynamic-control-plane/grpc", protocol+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			f := weirtest.Example(t, moduleRoot, "examples/quickstart")
			c := weirtest.Start(t, "control", f.Path, "--listen", "127.0.0.1:0", "--health", "127.0.0.1:0")
			at := regexp.MustCompile(`address=(127\.0\.0\.1:\d+)`)
			c.WaitFor("listening for proxies")
			address := at.FindStringSubmatch(c.Output())[1]
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				t.Fatal(err)
			}
			weirtest.Start(t, "proxy", "--config-yaml", strings.ReplaceAll(string(asks), "port_value: 18000", "port_value: "+port))
			listens(t, "127.0.0.1:"+f.Ports["8080"])
			const moved = "curl -si http://127.0.0.1:8080/v1/orders"
			until(t, f, moved, "301")

			f.Edit(t, "gateway.yaml", "statusCode: 301", "statusCode: 302")
			until(t, f, moved, "302")
			c.Signal(syscall.SIGTERM)
			if status := c.Wait(30 * time.Second); status != 0 {
				t.Errorf("status %d after SIGTERM", status)
			}
			until(t, f, moved, "302")

			f.Edit(t, "gateway.yaml", "statusCode: 302", "statusCode: 307")
			weirtest.Start(t, "control", f.Path, "--listen", address)
			until(t, f, moved, "307")
		})
	}
}

// listens waits until something listens at an address.
func listens(t *testing.T, address string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(20 * time.Millisecond)
	}
}

// TestControlRefuses gives flags that do not go together.
func TestControlRefuses(t *testing.T) {
	for want, args := range map[string][]string{
		"--listen 0.0.0.0:0 is not a loopback address": {"--listen", "0.0.0.0:0"},
		"objects come from one of both":                {"--kubeconfig", "x"},
		"go together":                                  {"--tls-key", "x"},
		"want host:port":                               {"--listen", "x"},
		"there is no Gateway to serve":                 {},
	} {
		out, status := weirtest.Run(t, "", append([]string{"control", t.TempDir()}, args...)...)
		if status != 1 || !strings.Contains(out, want) {
			t.Errorf("%v: status %d, %q is missing in:\n%s", args, status, want, out)
		}
	}
}
