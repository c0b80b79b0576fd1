// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"os"
	"runtime/debug"

	"weir.dev/weir/cmd/weir/flags"
	"weir.dev/weir/ext/all"
	"weir.dev/weir/proxy"
)

// proxies is the starter of real proxies.
type proxies struct{}

// options loads the bootstrap and says what the flags make of it.
func (proxies) options(pieces []document, o *flags.Proxy, log *slog.Logger) (proxy.Options, error) {
	b, positions, err := loadBootstrap(pieces, nil, log)
	return proxy.Options{
		Bootstrap: b, Positions: positions, Concurrency: o.Concurrency, DrainTime: o.DrainTime,
		ServiceNode: o.ServiceNode, ServiceCluster: o.ServiceCluster, ServiceZone: o.ServiceZone,
		AdminAddressPath: o.AdminAddressPath, Log: log, Extensions: all.Extensions(),
		Version:          versionLine(debug.ReadBuildInfo()),
		DrainImmediately: o.DrainStrategy == flags.Immediate,
	}, err
}

func (p proxies) Check(pieces []document, o *flags.Proxy, log *slog.Logger) error {
	options, err := p.options(pieces, o, log)
	if err != nil {
		return err
	}
	return proxy.Check(options) // compiles everything, binds nothing
}

// lean makes the heap keep less in reserve. The request path allocates nothing, so
// collecting more often costs no time, and idle connections cost less memory.
func lean() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(20)
	}
}

func (p proxies) Start(pieces []document, o *flags.Proxy, log *slog.Logger) (engine, error) {
	lean()
	options, err := p.options(pieces, o, log)
	if err != nil {
		return nil, err
	}
	running, err := proxy.New(options)
	if err != nil {
		return nil, err
	}
	return &calling{running, calledAddresses(options.Bootstrap)}, nil
}

// calling is a proxy that knows whom its bootstrap has it call.
type calling struct {
	*proxy.Proxy // Run, Close, AdminAddr, Listeners, ReopenLogs
	calls        []string
}

func (c *calling) Calls() []string { return c.calls }
