// SPDX-License-Identifier: Apache-2.0

package awsrequestsigning

import (
	_ "embed"
	"fmt"
	"time"

	awsrequestsigningv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/aws_request_signing/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/aws/credentials"
	"weir.dev/weir/proxy/aws/sign"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.aws_request_signing"

// defaultExpiry is how long a signature in the query is valid.
const defaultExpiry = 5 * time.Second

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// maker makes filters, and what routes have for them, with credentials of one set.
type maker struct {
	from   *credentials.Set
	routes stats.Shared[Stats]
}

// Extension returns the filter's place in a registry. Its credentials are of set.
func Extension(set *credentials.Set) extension.HTTPFilter {
	k := &maker{from: set}
	return extension.HTTPFilter{
		Name: Name, Config: &awsrequestsigningv3.AwsRequestSigning{}, New: k.filter,
		Route: &awsrequestsigningv3.AwsRequestSigningPerRoute{}, NewRoute: k.route, Place: extension.Anywhere,
	}
}

func (k *maker) filter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*awsrequestsigningv3.AwsRequestSigning)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not an AwsRequestSigning", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	warn := c.Warn("AWS request signing filter", "filter", c.Name)
	if err := supported.Apply(m, "", warn); err != nil {
		return nil, err
	}
	s, err := k.settings(m, c.Services, warn)
	if err != nil {
		return nil, err
	}
	s.stats = stats.Register[Stats](c.Scope.Scope("aws_request_signing."), len(c.Loops))
	c.Own(s.stats.Close)
	if !c.Checking {
		c.Own(k.from.Hold(s.from))
	}
	return &Filter{name: c.Name, slot: c.Slot, own: s}, nil
}

func (k *maker) route(cfg proto.Message, s *extension.Services) (any, error) {
	m, ok := cfg.(*awsrequestsigningv3.AwsRequestSigningPerRoute)
	if !ok {
		return nil, fmt.Errorf("%s: per-route configuration is a %s, not an AwsRequestSigningPerRoute", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	warn := s.Warn("AWS request signing filter's route")
	if err := supported.Apply(m, "", warn); err != nil {
		return nil, err
	}
	out, err := k.settings(m.GetAwsRequestSigning(), s, warn)
	if err != nil {
		return nil, fmt.Errorf("aws_request_signing.%w", err)
	}
	// Envoy puts nothing between the prefix and the rest.
	out.stats = k.routes.Register(s.Stats.Scope(m.GetStatPrefix()+"aws_request_signing."), len(s.Loops))
	return out, nil
}

func (k *maker) settings(m *awsrequestsigningv3.AwsRequestSigning, s *extension.Services, warn func(path, reason string)) (*Settings, error) {
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	o := sign.Options{Service: m.GetServiceName(), Region: m.GetRegion()}
	find := k.from.Region
	if m.GetSigningAlgorithm() == awsrequestsigningv3.AwsRequestSigning_AWS_SIGV4A {
		o.Algorithm, find = sign.V4A, k.from.RegionSet
	}
	if o.Region == "" {
		var err error
		if o.Region, err = find(); err != nil {
			return nil, fmt.Errorf("region: %w", err)
		}
	}
	if q := m.GetQueryString(); q != nil {
		o.Query, o.Expires = true, defaultExpiry
		if e := q.GetExpirationTime(); e != nil {
			o.Expires = e.AsDuration()
		}
	}
	if err := o.Fields(m.GetMatchIncludedHeaders(), m.GetMatchExcludedHeaders()); err != nil {
		return nil, err
	}
	from, err := credentials.Compile(m.GetCredentialProvider(), o.Region, warn)
	if err != nil {
		return nil, fmt.Errorf("credential_provider: %w", err)
	}
	return &Settings{
		host: m.GetHostRewrite(), unsigned: m.GetUseUnsignedPayload(), signer: sign.New(o), from: k.from.Provider(from, s.Log("aws"), s.Stats),
	}, nil
}
