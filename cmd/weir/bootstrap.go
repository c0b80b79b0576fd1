// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"net"
	"slices"
	"strconv"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/check"
	"weir.dev/weir/xds/load"
)

// loadBootstrap reads the pieces of one bootstrap and checks the whole. Its error holds every problem, one a
// line; what is only worth a warning goes to the log, and so does what was of an older version of the API.
// support, which may be nil, tells what the data plane can do.
func loadBootstrap(pieces []document, support check.Support, log *slog.Logger) (*bootstrapv3.Bootstrap, *load.Positions, error) {
	docs := make([]load.Document, 0, len(pieces))
	for _, p := range pieces {
		docs = append(docs, load.Document{Name: p.name, Data: p.data})
	}
	note := func(n xds.Note) { log.Info("read as API v3: " + n.String()) }
	b, positions, problems := load.Bootstraps(docs, load.Options{Note: note})
	if !xds.HasErrors(problems) {
		// Of a file that could not be read whole, the check would report what is not there.
		problems = append(problems, positions.Locate(check.Bootstrap(b, support))...)
	}
	xds.Sort(problems)
	for _, p := range problems {
		if p.Severity == xds.Warning {
			log.Warn(p.Error())
		}
	}
	return b, positions, xds.Err(problems)
}

// calledAddresses are the addresses of the clusters' endpoints that a bootstrap names: "host:port", or a
// socket's path. Each stands once.
func calledAddresses(b *bootstrapv3.Bootstrap) []string {
	var out []string
	for _, c := range b.GetStaticResources().GetClusters() {
		for _, locality := range c.GetLoadAssignment().GetEndpoints() {
			for _, e := range locality.GetLbEndpoints() {
				if a := addressText(e.GetEndpoint().GetAddress()); a != "" && !slices.Contains(out, a) {
					out = append(out, a)
				}
			}
		}
	}
	return out
}

// addressText is an address as a listener's is printed, or "" for one that is not a fixed place.
func addressText(a *corev3.Address) string {
	if pipe := a.GetPipe(); pipe != nil {
		return pipe.GetPath()
	}
	s := a.GetSocketAddress()
	if s.GetAddress() == "" {
		return ""
	}
	return net.JoinHostPort(s.GetAddress(), strconv.Itoa(int(s.GetPortValue())))
}
