// SPDX-License-Identifier: Apache-2.0

package awslambda

import (
	_ "embed"
	"fmt"
	"strings"

	awslambdav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/aws_lambda/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/aws/credentials"
	"weir.dev/weir/proxy/aws/sign"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/xds/ledger"
)

// Name is Envoy's canonical name.
const Name = "envoy.filters.http.aws_lambda"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// maker makes filters, and what routes have for them, with credentials of one set.
type maker struct{ from *credentials.Set }

// Extension returns the filter's place in a registry. Its credentials are of set.
func Extension(set *credentials.Set) extension.HTTPFilter {
	k := maker{set}
	return extension.HTTPFilter{
		Name: Name, Config: &awslambdav3.Config{}, New: k.filter,
		Route: &awslambdav3.PerRouteConfig{}, NewRoute: k.route, Place: extension.Anywhere,
	}
}

func (k maker) filter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*awslambdav3.Config)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a Config", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	if err := supported.Apply(m, "", c.Warn("AWS Lambda filter", "filter", c.Name)); err != nil {
		return nil, err
	}
	s, err := k.settings(m, c.Services)
	if err != nil {
		return nil, err
	}
	f := &Filter{
		name: c.Name, slot: c.Slot, always: c.Place == extension.Upstream, own: s, clusters: c.Clusters, log: c.Log("aws"),
		stats: stats.Register[Stats](c.Scope.Scope("aws_lambda."), len(c.Loops)),
	}
	c.Own(f.stats.Close)
	if !c.Checking {
		c.Own(k.from.Hold(s.from))
	}
	return f, nil
}

func (k maker) route(cfg proto.Message, s *extension.Services) (any, error) {
	m, ok := cfg.(*awslambdav3.PerRouteConfig)
	if !ok {
		return nil, fmt.Errorf("%s: per-route configuration is a %s, not a PerRouteConfig", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	if err := supported.Apply(m, "", s.Warn("AWS Lambda filter's route")); err != nil {
		return nil, err
	}
	out, err := k.settings(m.GetInvokeConfig(), s)
	if err != nil {
		return nil, fmt.Errorf("invoke_config.%w", err)
	}
	return out, nil
}

func (k maker) settings(m *awslambdav3.Config, in *extension.Services) (*Settings, error) {
	if err := m.ValidateAll(); err != nil {
		return nil, err
	}
	region, err := parseARN(m.GetArn())
	if err != nil {
		return nil, fmt.Errorf("arn: %w", err)
	}
	s := &Settings{
		path:        "/2015-03-31/functions/" + m.GetArn() + "/invocations",
		passthrough: m.GetPayloadPassthrough(), async: m.GetInvocationMode() == awslambdav3.Config_ASYNCHRONOUS, host: m.GetHostRewrite(),
	}
	o := sign.Options{Service: "lambda", Region: region}
	if err := o.Fields(m.GetMatchIncludedHeaders(), m.GetMatchExcludedHeaders()); err != nil {
		return nil, err
	}
	s.signer = sign.New(o)
	var from *credentials.Config
	switch c := m.GetCredentials(); {
	case c != nil:
		from = credentials.Inline(sign.Credentials{AccessKeyID: c.GetAccessKeyId(), SecretAccessKey: c.GetSecretAccessKey(), SessionToken: c.GetSessionToken()})
	case m.GetCredentialsProfile() != "":
		from = credentials.Profile(m.GetCredentialsProfile())
	default:
		if from, err = credentials.Compile(nil, region, nil); err != nil {
			return nil, err
		}
	}
	s.from = k.from.Provider(from, in.Log("aws"), in.Stats)
	return s, nil
}

// parseARN checks the name of a function and returns its region. A version or an alias
// may follow.
func parseARN(arn string) (region string, err error) {
	parts := strings.Split(arn, ":")
	if len(parts) < 7 || parts[0] != "arn" || parts[3] == "" || parts[6] == "" {
		return "", fmt.Errorf("%q does not name a function: write it as arn:aws:lambda:REGION:ACCOUNT:function:NAME, with :VERSION or :ALIAS after it if need be", arn)
	}
	for i := range len(arn) {
		switch c := arn[i]; {
		case token(c) && c != '%' && c != '#', c == ':', c == '/':
		default:
			return "", fmt.Errorf("%q has a character at byte %d that no function's name has", arn, i)
		}
	}
	return parts[3], nil
}
