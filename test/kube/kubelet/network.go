// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"bytes"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
)

// network gives pods their namespaces and addresses. Every pod has a link of its own to the node, which routes: so
// that the node's kube-proxy sees all traffic, and no address is changed on the way back.
type network struct {
	node netip.Addr
	pods netip.Prefix

	mu   sync.Mutex
	last netip.Addr
	used map[netip.Addr]bool
}

func newNetwork(node netip.Addr, pods netip.Prefix) *network {
	// The first addresses are the node's.
	return &network{node: node, pods: pods, last: node.Next(), used: map[netip.Addr]bool{node: true}}
}

// take returns an address that no pod has, and that none had lately.
func (n *network) take() (netip.Addr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	start := n.last
	for {
		n.last = n.last.Next()
		if !n.pods.Contains(n.last) {
			n.last = n.node.Next()
		}
		if b := n.last.As4(); !n.used[n.last] && b[3] != 0 && b[3] != 255 {
			n.used[n.last] = true
			return n.last, nil
		}
		if n.last == start {
			return netip.Addr{}, fmt.Errorf("no address is left in %s", n.pods)
		}
	}
}

// names of a pod's namespace and of the node's end of its link, from the pod's address.
func names(a netip.Addr) (namespace, link string) {
	b := a.As4()
	return fmt.Sprintf("pod-%d-%d", b[2], b[3]), fmt.Sprintf("veth%d-%d", b[2], b[3])
}

// add makes the network of a pod and returns the file of its namespace.
func (n *network) add(a netip.Addr) (file string, err error) {
	ns, link := names(a)
	if err := ip("netns", "add", ns); err != nil {
		return "", err
	}
	outside := []string{
		"link add " + link + " type veth peer name eth0 netns " + ns,
		"link set " + link + " up",
		fmt.Sprintf("route add %s dev %s src %s", a, link, n.node),
	}
	inside := []string{
		"link set lo up", "link set eth0 up",
		fmt.Sprintf("addr add %s/32 dev eth0", a),
		fmt.Sprintf("route add %s dev eth0", n.node),
		fmt.Sprintf("route add default via %s dev eth0", n.node),
	}
	if err := batch(nil, outside); err != nil {
		return "", err
	}
	if err := batch([]string{"-n", ns}, inside); err != nil {
		return "", err
	}
	return "/run/netns/" + ns, nil
}

// remove takes a pod's network down; the link goes with it.
func (n *network) remove(a netip.Addr) error {
	ns, _ := names(a)
	err := ip("netns", "del", ns)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.used, a)
	return err
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// batch runs several commands of ip at once.
func batch(options, commands []string) error {
	cmd := exec.Command("ip", append(options, "-batch", "-")...)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(commands, "; "), err, bytes.TrimSpace(out))
	}
	return nil
}
