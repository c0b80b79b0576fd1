// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// makeNetwork makes the network namespace of this process the node's: its address, and routes for kube-proxy to change.
func makeNetwork() error {
	commands := []string{
		"link set lo up",
		fmt.Sprintf("addr replace %s/32 dev lo", nodeAddress),
		// Before kube-proxy turns them to a pod, connections to Services need a way to be on, and an address to be from.
		fmt.Sprintf("route replace %s dev lo src %s", servicePrefix, nodeAddress),
		fmt.Sprintf("route replace %s dev lo src %s", Pool, nodeAddress),
		fmt.Sprintf("route replace local %s dev lo", Local),
	}
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(commands, "; "), err, bytes.TrimSpace(out))
	}
	for name, value := range map[string]string{"ip_forward": "1", "conf/all/rp_filter": "0", "conf/default/rp_filter": "0"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0o644); err != nil {
			return err
		}
	}
	return os.MkdirAll("/run/netns", 0o755)
}
