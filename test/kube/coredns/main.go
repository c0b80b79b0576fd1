// SPDX-License-Identifier: Apache-2.0

// Command coredns is CoreDNS with few of its plugins: bind, hosts and kubernetes are the DNS of a cluster; whoami,
// forward, log and errors are what the conformance suite's backend of UDP asks for.
package main

import (
	"github.com/coredns/coredns/coremain"

	// CoreDNS knows a plugin once it is imported.
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/whoami"
)

func main() { coremain.Run() }
