// SPDX-License-Identifier: Apache-2.0

package directresponse

import (
	_ "embed"
	"errors"
	"fmt"
	"os"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	directresponsev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/direct_response/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/conn"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/xds/ledger"
)

// Name is the filter's canonical name.
const Name = "envoy.filters.network.direct_response"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// Extension describes the filter.
func Extension() extension.NetworkFilter {
	return extension.NetworkFilter{
		Name: Name, Config: &directresponsev3.Config{}, Terminal: true,
		Handler: func(cfg proto.Message, c *extension.Network) (conn.Factory, error) {
			m := cfg.(*directresponsev3.Config)
			if err := supported.Apply(m, "", c.Warn("direct response filter", "listener", c.Listener)); err != nil {
				return nil, err
			}
			b, err := read(m.GetResponse())
			if err != nil {
				return nil, fmt.Errorf("response.%w", err)
			}
			return &Factory{response: b}, nil
		},
	}
}

// maxResponse bounds the response, in bytes.
const maxResponse = 1 << 20

func read(s *corev3.DataSource) ([]byte, error) {
	var b []byte
	switch v := s.GetSpecifier().(type) {
	case nil:
	case *corev3.DataSource_InlineString:
		b = []byte(v.InlineString)
	case *corev3.DataSource_InlineBytes:
		b = v.InlineBytes
	case *corev3.DataSource_EnvironmentVariable:
		text, ok := os.LookupEnv(v.EnvironmentVariable)
		if !ok {
			return nil, fmt.Errorf("environment_variable: %s is not set", v.EnvironmentVariable)
		}
		b = []byte(text)
	case *corev3.DataSource_Filename:
		var err error
		if b, err = os.ReadFile(v.Filename); err != nil {
			return nil, fmt.Errorf("filename: %w", err)
		}
	default:
		return nil, errors.New("specifier: is of an unknown kind")
	}
	if len(b) > maxResponse {
		return nil, fmt.Errorf("specifier: %d bytes are more than %d: shorten the response", len(b), maxResponse)
	}
	return b, nil
}
