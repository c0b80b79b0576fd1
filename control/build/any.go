// SPDX-License-Identifier: Apache-2.0

// Package build makes Envoy's messages: one function for each thing that dialects
// and policies have in common, and a file for each subject. The functions are pure,
// and know neither objects nor the graph.
package build

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Any packs a message, always into the same bytes.
func Any(m proto.Message) *anypb.Any {
	out := &anypb.Any{}
	if err := anypb.MarshalFrom(out, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		panic("BUG: a message made here cannot be encoded: " + err.Error()) // Only invalid UTF-8 could; objects have none.
	}
	return out
}

// Extension names a typed configuration.
func Extension(name string, m proto.Message) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: name, TypedConfig: Any(m)}
}

// ADS is where everything that has a name is discovered.
func ADS() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

// Address is an IP address and a port.
func Address(address string, port int32, udp bool) *corev3.Address {
	protocol := corev3.SocketAddress_TCP
	if udp {
		protocol = corev3.SocketAddress_UDP
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Protocol: protocol, Address: address,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

// Pipe is the path of a Unix socket.
func Pipe(path string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
}

func duration(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

func yes() *wrapperspb.BoolValue { return wrapperspb.Bool(true) }

// Data is a text, or bytes, that stands where it is asked for.
func Data(text string) *corev3.DataSource { return inline(text) }

func inline(text string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: []byte(text)}}
}
