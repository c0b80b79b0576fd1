// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	grpccredentialv3 "github.com/envoyproxy/go-control-plane/envoy/config/grpc_credential/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

// maxMessage bounds a response, in bytes, where max_receive_message_length does not.
const maxMessage = 256 << 20

// A server that says nothing for askAlive is asked whether it is there, and is given
// answerAlive: gRPC's servers end connections on which that is asked every 5 minutes or
// more often.
const (
	askAlive    = 6 * time.Minute
	answerAlive = 20 * time.Second
)

// connect makes the connection that a stream is opened on. It connects when that is.
func (c *Client) connect(api *corev3.ApiConfigSource, service int) (*grpc.ClientConn, error) {
	options := []grpc.DialOption{
		grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithUserAgent("weir"),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: 5 * time.Second}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: askAlive, Timeout: answerAlive}),
	}
	var g *corev3.GrpcService
	if service < len(api.GetGrpcServices()) {
		g = api.GetGrpcServices()[service]
	}
	switch t := g.GetTargetSpecifier().(type) {
	case *corev3.GrpcService_EnvoyGrpc_:
		return c.viaCluster(t.EnvoyGrpc, options)
	case *corev3.GrpcService_GoogleGrpc_:
		return directly(t.GoogleGrpc, options)
	}
	if names := api.GetClusterNames(); len(names) > 0 {
		return c.viaCluster(&corev3.GrpcService_EnvoyGrpc{ClusterName: names[service%len(names)]}, options)
	}
	return nil, errors.New("api_config_source.grpc_services: is empty: name the management server by envoy_grpc or google_grpc")
}

// viaCluster connects to a host of a cluster, as the cluster says; TLS is its affair.
func (c *Client) viaCluster(e *corev3.GrpcService_EnvoyGrpc, options []grpc.DialOption) (*grpc.ClientConn, error) {
	name := e.GetClusterName()
	limit := maxMessage
	if v := e.GetMaxReceiveMessageLength().GetValue(); v > 0 {
		limit = int(v)
	}
	return grpc.NewClient("passthrough:///"+name, append(options,
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return c.o.Dial(ctx, name, "h2") }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithAuthority(cmp.Or(e.GetAuthority(), name)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(limit)),
	)...)
}

func directly(g *corev3.GrpcService_GoogleGrpc, options []grpc.DialOption) (*grpc.ClientConn, error) {
	creds, err := channelCredentials(g.GetChannelCredentials())
	if err != nil {
		return nil, fmt.Errorf("google_grpc.channel_credentials: %w", err)
	}
	// The kernel finds out about a server that is gone without a word.
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}}
	options = append(options, grpc.WithTransportCredentials(creds), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithContextDialer(func(ctx context.Context, at string) (net.Conn, error) {
			if path, ok := strings.CutPrefix(at, "unix:"); ok {
				return dialer.DialContext(ctx, "unix", path)
			}
			if name, ok := strings.CutPrefix(at, "\x00"); ok {
				return dialer.DialContext(ctx, "unix", "@"+name)
			}
			return dialer.DialContext(ctx, "tcp", at)
		}))
	for i, c := range g.GetCallCredentials() {
		per, err := callCredentials(c)
		if err != nil {
			return nil, fmt.Errorf("google_grpc.call_credentials[%d]: %w", i, err)
		}
		options = append(options, grpc.WithPerRPCCredentials(per))
	}
	return grpc.NewClient(g.GetTargetUri(), options...)
}

func channelCredentials(c *corev3.GrpcService_GoogleGrpc_ChannelCredentials) (credentials.TransportCredentials, error) {
	ssl := c.GetSslCredentials()
	if ssl == nil {
		return insecure.NewCredentials(), nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if d := ssl.GetRootCerts(); d != nil {
		pem, err := read(d)
		if err != nil {
			return nil, fmt.Errorf("ssl_credentials.root_certs: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("ssl_credentials.root_certs: has no certificate in PEM")
		}
	}
	if ssl.GetCertChain() != nil || ssl.GetPrivateKey() != nil {
		chain, err := read(ssl.GetCertChain())
		if err != nil {
			return nil, fmt.Errorf("ssl_credentials.cert_chain: %w", err)
		}
		key, err := read(ssl.GetPrivateKey())
		if err != nil {
			return nil, fmt.Errorf("ssl_credentials.private_key: %w", err)
		}
		pair, err := tls.X509KeyPair(chain, key)
		if err != nil {
			return nil, fmt.Errorf("ssl_credentials: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(cfg), nil
}

func read(d *corev3.DataSource) ([]byte, error) {
	switch s := d.GetSpecifier().(type) {
	case *corev3.DataSource_Filename:
		return os.ReadFile(s.Filename)
	case *corev3.DataSource_InlineBytes:
		return s.InlineBytes, nil
	case *corev3.DataSource_InlineString:
		return []byte(s.InlineString), nil
	case *corev3.DataSource_EnvironmentVariable:
		v, ok := os.LookupEnv(s.EnvironmentVariable)
		if !ok {
			return nil, fmt.Errorf("the environment variable %s is not set", s.EnvironmentVariable)
		}
		return []byte(v), nil
	}
	return nil, errors.New("is missing")
}

func callCredentials(c *corev3.GrpcService_GoogleGrpc_CallCredentials) (credentials.PerRPCCredentials, error) {
	if token := c.GetAccessToken(); token != "" {
		return bearer(token), nil
	}
	config := &grpccredentialv3.FileBasedMetadataConfig{}
	if m := c.GetFromPlugin().GetTypedConfig(); m == nil || m.UnmarshalTo(config) != nil {
		return nil, errors.New("only access_token, and from_plugin with a FileBasedMetadataConfig are supported")
	}
	return &fileMetadata{config}, nil
}

// fileMetadata is a header whose value is a file's, which is read for each stream: the
// token in it may be another by then.
type fileMetadata struct {
	config *grpccredentialv3.FileBasedMetadataConfig
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (f *fileMetadata) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	data, err := read(f.config.GetSecretData())
	if err != nil {
		return nil, fmt.Errorf("secret_data: %w", err)
	}
	return map[string]string{cmp.Or(f.config.GetHeaderKey(), "authorization"): f.config.GetHeaderPrefix() + strings.TrimSpace(string(data))}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (*fileMetadata) RequireTransportSecurity() bool { return true }

// bearer is an access token, sent with each stream over TLS.
type bearer string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (bearer) RequireTransportSecurity() bool { return true }

// metadataOf adds what initial_metadata says to the head of a stream.
func metadataOf(ctx context.Context, api *corev3.ApiConfigSource, service int) context.Context {
	if service >= len(api.GetGrpcServices()) {
		return ctx
	}
	for _, h := range api.GetGrpcServices()[service].GetInitialMetadata() {
		value := h.GetValue()
		if len(h.GetRawValue()) > 0 {
			value = string(h.GetRawValue())
		}
		ctx = metadata.AppendToOutgoingContext(ctx, h.GetKey(), value)
	}
	return ctx
}
