// SPDX-License-Identifier: Apache-2.0

package originaldst_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy/proxytest"
)

// inside is set in the environment of the test's own network namespace.
const inside = "WEIR_TEST_IN_NAMESPACE"

const rules = `
table ip nat {
	chain output {
		type nat hook output priority -100
		ip daddr 192.0.2.1 tcp dport 8000-8999 redirect to :9000
	}
}
table ip6 nat {
	chain output {
		type nat hook output priority -100
		tcp dport 8000-8999 redirect to :9000
	}
}
table ip mangle {
	chain output {
		type route hook output priority -150
		ip daddr 203.0.113.0/24 meta mark set 1
	}
	chain prerouting {
		type filter hook prerouting priority -150
		ip daddr 203.0.113.0/24 tcp dport 1-65535 tproxy to 127.0.0.1:9001
	}
}
`

const network = `
ip link set lo up
ip addr add 192.0.2.1/32 dev lo
ip -6 addr add 2001:db8::1/128 dev lo nodad
ip route add 203.0.113.0/24 dev lo src 192.0.2.1
ip rule add fwmark 1 lookup 100
ip route add local 0.0.0.0/0 dev lo table 100
nft -f -
`

// TestRedirected runs TestInside in a network namespace of its own, in which the
// kernel redirects connections.
func TestRedirected(t *testing.T) {
	for _, program := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestInside$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if id := os.Getuid(); id != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: id, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Skipf("no network namespace can be made here: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestInside") {
		t.Errorf("%v\n%s", err, out)
	}
}

// listen is a listener of its own chain.
func listen(name, address, fields string) string {
	host, port, _ := strings.Cut(address, " ")
	return fmt.Sprintf("  - name: %s\n    address: {socket_address: {address: %q, port_value: %s}}\n%s    filter_chains: [{name: %s, filters: [%s]}]\n",
		name, host, port, fields, name, proxytest.Teller)
}

func TestInside(t *testing.T) {
	if os.Getenv(inside) == "" {
		t.Skip("TestRedirected runs it in a network namespace")
	}
	set := exec.Command("sh", "-ec", network)
	set.Stdin = strings.NewReader(rules)
	if out, err := set.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const unbound = "    bind_to_port: false\n"
	filter := "    listener_filters:\n    " + proxytest.ListenerFilter("original_dst.v3.OriginalDst", "")
	yaml := "static_resources:\n  listeners:\n" +
		listen("front", "127.0.0.1 9000", "    additional_addresses: [{address: {socket_address: {address: \"::1\", port_value: 9000}}}]\n    use_original_dst: true\n    stat_prefix: front\n") +
		listen("alone", "127.0.0.1 9002", filter) +
		listen("transparent", "127.0.0.1 9001", "    transparent: true\n    use_original_dst: true\n") +
		listen("exact", "192.0.2.1 8001", unbound+"    stat_prefix: exact\n") +
		listen("six", "2001:db8::1 8001", unbound) +
		listen("any", "0.0.0.0 8002", unbound) +
		listen("far", "203.0.113.9 80", unbound)
	p := proxytest.Start(t, yaml, proxytest.Options{
		Extensions: proxytest.WithTeller(t, all.Extensions(), "%FILTER_CHAIN_NAME% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_DIRECT_LOCAL_ADDRESS%"), Concurrency: 2,
	})
	ask := func(to string) string {
		c := proxytest.Dial(t, to)
		defer c.Close()
		c.CloseWrite()
		got, _ := c.ReadAll()
		return got
	}
	for _, tt := range []struct{ to, want string }{
		{"192.0.2.1:8001", "exact 192.0.2.1:8001 127.0.0.1:9000\n"},
		{"[2001:db8::1]:8001", "six [2001:db8::1]:8001 [::1]:9000\n"},
		{"192.0.2.1:8002", "any 192.0.2.1:8002 127.0.0.1:9000\n"},
		{"192.0.2.1:8003", "front 192.0.2.1:8003 127.0.0.1:9000\n"}, // Nobody's, so its own.
		{"[2001:db8::1]:8002", "front [2001:db8::1]:8002 [::1]:9000\n"},
		{"127.0.0.1:9000", "front 127.0.0.1:9000 127.0.0.1:9000\n"}, // Not redirected at all.
		{"127.0.0.1:9002", "alone 127.0.0.1:9002 127.0.0.1:9002\n"},
		{"203.0.113.9:80", "far 203.0.113.9:80 127.0.0.1:9001\n"},
		{"203.0.113.9:81", "transparent 203.0.113.9:81 127.0.0.1:9001\n"},
		{"203.0.113.77:8002", "any 203.0.113.77:8002 127.0.0.1:9001\n"},
	} {
		if got := ask(tt.to); got != tt.want {
			t.Errorf("to %s: %q, want %q", tt.to, got, tt.want)
		}
	}
	p.WaitCounter("listener.exact.downstream_cx_total", 1)
	p.WaitGauge("listener.exact.downstream_cx_active", 0)
	p.WaitCounter("listener.front.downstream_cx_total", 3)

	// A listener that is gone takes no more, and one that comes does.
	yaml = strings.ReplaceAll(strings.Replace(yaml, "8001", "8004", 1), "name: exact", "name: moved")
	if problems := p.Update(yaml); len(problems) > 0 {
		t.Fatal(problems)
	}
	for to, want := range map[string]string{"192.0.2.1:8001": "front 192.0.2.1:8001 127.0.0.1:9000\n", "192.0.2.1:8004": "moved 192.0.2.1:8004 127.0.0.1:9000\n"} {
		if got := ask(to); got != want {
			t.Errorf("after the update, to %s: %q, want %q", to, got, want)
		}
	}
}
