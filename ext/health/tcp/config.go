// SPDX-License-Identifier: Apache-2.0

package tcp

import (
	_ "embed"
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/upstream/health"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's name of the extension.
const Name = "envoy.health_checkers.tcp"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Factory makes the extension known.
func Factory() health.Factory {
	return health.Factory{
		Name: Name, Kind: health.TCP, Field: "tcp_health_check", Fields: supported, New: compile,
		Config: func(m *corev3.HealthCheck) proto.Message {
			if c := m.GetTcpHealthCheck(); c != nil {
				return c
			}
			return nil
		},
	}
}

func compile(cfg proto.Message) (health.Checker, error) {
	m, ok := cfg.(*corev3.HealthCheck_TcpHealthCheck)
	if !ok {
		return nil, fmt.Errorf("%T is not the configuration of %s", cfg, Name)
	}
	c := &checker{}
	var errs []error
	if s := m.GetSend(); s != nil {
		p, err := health.ParsePayload("send", s)
		if err != nil {
			errs = append(errs, err)
		} else {
			c.send = p[0]
		}
	}
	var err error
	if c.receive, err = health.ParsePayload("receive", m.GetReceive()...); err != nil {
		errs = append(errs, err)
	}
	if p := m.GetProxyProtocolConfig(); p != nil {
		c.proxy = proxyV1
		if p.GetVersion() == corev3.ProxyProtocolConfig_V2 {
			c.proxy = proxyV2
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return c, nil
}
