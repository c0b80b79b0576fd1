// SPDX-License-Identifier: Apache-2.0

package grpc

import (
	_ "embed"
	"errors"
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"weir.dev/weir/internal/wire"
	"weir.dev/weir/proxy/accesslog"
	"weir.dev/weir/proxy/batch"
	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/format"
	"weir.dev/weir/proxy/header"
	"weir.dev/weir/proxy/route"
	"weir.dev/weir/proxy/tls"
	"weir.dev/weir/proxy/upstream/call"
	"weir.dev/weir/xds/ledger"
)

// Envoy's names of the extensions, and the types of their configuration.
const (
	HTTPName    = "envoy.access_loggers.http_grpc"
	HTTPMessage = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
	TCPName     = "envoy.access_loggers.tcp_grpc"
	TCPMessage  = "envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig"
)

// method is that of the service. Each batch is a stream of one message.
const method = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"

//go:embed fields.txt
var fields string

var supported = ledger.MustParse(fields)

// NewHTTP returns the constructor of sinks that tell of requests.
func NewHTTP(s *extension.Services, loader *format.Loader) func(*anypb.Any) (accesslog.Sink, error) {
	return func(config *anypb.Any) (accesslog.Sink, error) {
		m := &grpclogv3.HttpGrpcAccessLogConfig{}
		if err := read(config, m, s, "HTTP gRPC access log"); err != nil {
			return nil, err
		}
		k := &Sink{
			http: true, request: names(m.GetAdditionalRequestHeadersToLog()),
			response: names(m.GetAdditionalResponseHeadersToLog()), trailer: names(m.GetAdditionalResponseTrailersToLog()),
		}
		return k.compile(m.GetCommonConfig(), s, loader)
	}
}

// NewTCP returns the constructor of sinks that tell of connections.
func NewTCP(s *extension.Services, loader *format.Loader) func(*anypb.Any) (accesslog.Sink, error) {
	return func(config *anypb.Any) (accesslog.Sink, error) {
		m := &grpclogv3.TcpGrpcAccessLogConfig{}
		if err := read(config, m, s, "TCP gRPC access log"); err != nil {
			return nil, err
		}
		return new(Sink).compile(m.GetCommonConfig(), s, loader)
	}
}

func read(config *anypb.Any, m interface {
	proto.Message
	ValidateAll() error
}, s *extension.Services, name string,
) error {
	if err := config.UnmarshalTo(m); err != nil {
		return fmt.Errorf("typed_config: %w", err)
	}
	if err := supported.Apply(m, "", s.Warn(name)); err != nil {
		return err
	}
	if err := m.ValidateAll(); err != nil {
		return err
	}
	if s.Exporters == nil {
		return errors.New("entries are not sent elsewhere from here: log to a file")
	}
	return nil
}

// compile settles where entries go and what they have.
func (k *Sink) compile(c *grpclogv3.CommonGrpcAccessLogConfig, s *extension.Services, loader *format.Loader) (*Sink, error) {
	if err := call.CheckVersion(c.GetTransportApiVersion()); err != nil {
		return nil, fmt.Errorf("common_config.%w", err)
	}
	in := call.Context{Warn: s.Warn("gRPC access log"), Hostname: s.Node.Hostname}
	to, err := call.Compile(c.GetGrpcService(), in)
	if err != nil {
		return nil, fmt.Errorf("common_config.grpc_service.%w", err)
	}
	if to.Retry == nil {
		if to.Retry, err = again(c, in); err != nil {
			return nil, fmt.Errorf("common_config.grpc_stream_%w", err)
		}
	}
	k.tags, err = route.CompileTags("common_config.custom_tags", c.GetCustomTags(), route.Context{
		CompileFormat: func(text string) (route.Formatter, error) { return format.Compile(text, loader.Options) },
	})
	if err != nil {
		return nil, err
	}
	who, err := identifier(c.GetLogName(), &s.Node)
	if err != nil {
		return nil, fmt.Errorf("node.metadata: %w", err)
	}
	k.states, k.suites = c.GetFilterStateObjectsToLog(), tls.CipherSuites()
	scope := s.Stats.Scope("access_logs.grpc_access_log")
	k.exporter = s.Exporters.New(batch.Options{
		Service: to, Method: method, Silent: true, Log: s.Log("access_log"), Request: request(who, k.http),
		Size: int(c.GetBufferSizeBytes().GetValue()), Interval: c.GetBufferFlushInterval().AsDuration(),
		Stats: batch.Stats{Written: scope.Counter("logs_written"), Dropped: scope.Counter("logs_dropped")},
	})
	return k, nil
}

// Tries of a batch by default: the service may just be restarting.
const (
	tries     = 3
	firstWait = 100 * time.Millisecond
	longest   = time.Second
)

// again says when a batch is sent again, if its service has no policy of its own: as that of
// the stream has it, or else a few times if the service was not reached.
func again(c *grpclogv3.CommonGrpcAccessLogConfig, in call.Context) (*call.Retry, error) {
	const unreached = route.RetryConnectFailure | route.RetryRefusedStream | route.RetryGRPCUnavailable
	policy := c.GetGrpcStreamRetryPolicy()
	if policy == nil {
		return &call.Retry{On: unreached, Max: tries, Base: firstWait, Most: longest}, nil
	}
	service := proto.CloneOf(c.GetGrpcService())
	service.RetryPolicy = policy
	out, err := call.Compile(service, in)
	if err != nil {
		return nil, err
	}
	out.Retry.On |= unreached // That of a stream says how often and when, not why.
	return out.Retry, nil
}

// Field numbers of StreamAccessLogsMessage and its Identifier.
const (
	messageIdentifier, messageHTTP, messageTCP = 1, 2, 3
	identifierNode, identifierLog              = 1, 2
)

// identifier is who tells, encoded.
func identifier(log string, n *extension.Node) ([]byte, error) {
	node := &corev3.Node{Id: n.ID, Cluster: n.Cluster, UserAgentName: "weir"}
	if n.Region != "" || n.Zone != "" || n.SubZone != "" {
		node.Locality = &corev3.Locality{Region: n.Region, Zone: n.Zone, SubZone: n.SubZone}
	}
	if len(n.Metadata) > 0 {
		var err error
		if node.Metadata, err = structpb.NewStruct(n.Metadata); err != nil {
			return nil, err
		}
	}
	b, err := proto.Marshal(node)
	if err != nil {
		return nil, err
	}
	return wire.Bytes(wire.Bytes(nil, identifierNode, b), identifierLog, log), nil
}

// request appends the message of a batch.
func request(who []byte, http bool) func(dst, entries []byte) []byte {
	field := uint64(messageTCP)
	if http {
		field = messageHTTP
	}
	return func(dst, entries []byte) []byte {
		return wire.Bytes(wire.Bytes(dst, messageIdentifier, who), field, entries)
	}
}

func names(list []string) []header.Name {
	var out []header.Name
	for _, s := range list {
		out = append(out, header.NewName(s))
	}
	return out
}
