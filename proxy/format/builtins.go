// SPDX-License-Identifier: Apache-2.0

package format

import (
	"cmp"

	"weir.dev/weir/proxy/streaminfo"
)

// builtins are Envoy's operators, but for those that need the options (timed)
// and COALESCE, which is made of others. It is never changed.
var builtins = map[string]entry{
	"REQ":                     {needs | length, headerOp(requestHead)},
	"REQUEST_HEADER":          {needs | length, headerOp(requestHead)},
	"RESP":                    {needs | length, headerOp(responseHead)},
	"RESPONSE_HEADER":         {needs | length, headerOp(responseHead)},
	"TRAILER":                 {needs | length, headerOp(responseTrailer)},
	"RESPONSE_TRAILER":        {needs | length, headerOp(responseTrailer)},
	"REQ_WITHOUT_QUERY":       {needs | length, withoutQuery},
	"PATH":                    {takes | length, pathOp},
	"QUERY_PARAM":             {needs | length, queryParam},
	"QUERY_PARAMS":            {takes | length, queryParams},
	"REQUESTED_SERVER_NAME":   {takes, serverNameOp},
	"GRPC_STATUS":             {takes, grpcOp},
	"GRPC_STATUS_NUMBER":      {bare, func(string, bool) (Operator, error) { return grpcOp("NUMBER", true) }},
	"REQUEST_HEADERS_BYTES":   {bare, headBytes(requestHead)},
	"RESPONSE_HEADERS_BYTES":  {bare, headBytes(responseHead)},
	"RESPONSE_TRAILERS_BYTES": {bare, headBytes(responseTrailer)},

	"BYTES_RECEIVED":                                {bare, count(func(s *streaminfo.Stream) uint64 { return s.BodyReceived })},
	"BYTES_SENT":                                    {bare, count(func(s *streaminfo.Stream) uint64 { return s.BodySent })},
	"BYTES_RETRANSMITTED":                           {bare, count(func(s *streaminfo.Stream) uint64 { return s.BytesRetransmitted })},
	"PACKETS_RETRANSMITTED":                         {bare, count(func(s *streaminfo.Stream) uint64 { return s.PacketsRetransmitted })},
	"DOWNSTREAM_WIRE_BYTES_SENT":                    {bare, count(func(s *streaminfo.Stream) uint64 { return s.WireSent })},
	"DOWNSTREAM_HEADER_BYTES_SENT":                  {bare, count(func(s *streaminfo.Stream) uint64 { return s.HeaderSent })},
	"DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT":     {bare, count(func(s *streaminfo.Stream) uint64 { return s.PlainHeaderSent })},
	"DOWNSTREAM_WIRE_BYTES_RECEIVED":                {bare, count(func(s *streaminfo.Stream) uint64 { return s.WireReceived })},
	"DOWNSTREAM_HEADER_BYTES_RECEIVED":              {bare, count(func(s *streaminfo.Stream) uint64 { return s.HeaderReceived })},
	"DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED": {bare, count(func(s *streaminfo.Stream) uint64 { return s.PlainHeaderReceived })},
	"UPSTREAM_WIRE_BYTES_SENT":                      {bare, count(func(s *streaminfo.Stream) uint64 { return s.Upstream.WireSent })},
	"UPSTREAM_HEADER_BYTES_SENT":                    {bare, count(func(s *streaminfo.Stream) uint64 { return s.Upstream.HeaderSent })},
	"UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT":       {bare, count(func(s *streaminfo.Stream) uint64 { return s.Upstream.PlainHeaderSent })},
	"UPSTREAM_WIRE_BYTES_RECEIVED":                  {bare, count(func(s *streaminfo.Stream) uint64 { return s.Upstream.WireReceived })},
	"UPSTREAM_HEADER_BYTES_RECEIVED":                {bare, count(func(s *streaminfo.Stream) uint64 { return s.Upstream.HeaderReceived })},
	"UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED":   {bare, count(func(s *streaminfo.Stream) uint64 { return s.Upstream.PlainHeaderReceived })},
	"UPSTREAM_REQUEST_ATTEMPT_COUNT":                {bare, count(func(s *streaminfo.Stream) uint64 { return uint64(s.Attempts) })},
	"RESPONSE_CODE":                                 {bare, count(func(s *streaminfo.Stream) uint64 { return uint64(s.Status) })},
	"UPSTREAM_CONNECTION_ID":                        {bare, count(func(s *streaminfo.Stream) uint64 { return s.Upstream.ConnectionID })},
	"CONNECTION_ID":                                 {bare, count(connectionID)},

	"REQUEST_DURATION":                        since(func(t *streaminfo.Timing) int64 { return t.RequestEnd }),
	"REQUEST_TX_DURATION":                     since(func(t *streaminfo.Timing) int64 { return t.UpstreamLastTx }),
	"RESPONSE_DURATION":                       since(func(t *streaminfo.Timing) int64 { return t.UpstreamFirstRx }),
	"ROUNDTRIP_DURATION":                      since(func(t *streaminfo.Timing) int64 { return t.DownstreamLastAck }),
	"RESPONSE_TX_DURATION":                    {bare, number(responseTx)},
	"COMMON_DURATION":                         {needs, commonDuration},
	"DOWNSTREAM_HANDSHAKE_DURATION":           {bare, number(handshake)},
	"UPSTREAM_CONNECTION_POOL_READY_DURATION": {bare, number(poolReady)},

	"PROTOCOL":                            {bare, text(func(s *streaminfo.Stream) string { return s.Protocol.String() })},
	"UPSTREAM_PROTOCOL":                   {bare, text(func(s *streaminfo.Stream) string { return s.Upstream.Protocol.String() })},
	"RESPONSE_CODE_DETAILS":               {takes, codeDetails},
	"RESPONSE_FLAGS":                      {bare, always(func(dst []byte, c Context) []byte { return c.Stream.Flags.Append(dst) })},
	"RESPONSE_FLAGS_LONG":                 {bare, always(func(dst []byte, c Context) []byte { return c.Stream.Flags.AppendLong(dst) })},
	"CUSTOM_FLAGS":                        {bare, always(func(dst []byte, c Context) []byte { return append(dst, c.Stream.CustomFlags...) })},
	"LOCAL_REPLY_BODY":                    {bare, always(func(dst []byte, c Context) []byte { return append(dst, c.Stream.LocalReplyBody...) })},
	"ACCESS_LOG_TYPE":                     {bare, always(logType)},
	"UNIQUE_ID":                           {bare, always(uniqueID)},
	"ROUTE_NAME":                          {bare, text(func(s *streaminfo.Stream) string { return s.RouteName })},
	"VIRTUAL_CLUSTER_NAME":                {bare, text(func(s *streaminfo.Stream) string { return s.VirtualCluster })},
	"UPSTREAM_CLUSTER_RAW":                {bare, text(func(s *streaminfo.Stream) string { return s.ClusterName })},
	"UPSTREAM_CLUSTER":                    {bare, text(func(s *streaminfo.Stream) string { return cmp.Or(s.ClusterStatName, s.ClusterName) })},
	"STREAM_ID":                           {bare, text(func(s *streaminfo.Stream) string { return s.ID })},
	"TRACE_ID":                            {bare, view(func(s *streaminfo.Stream) []byte { return s.TraceID })},
	"SPAN_ID":                             {bare, view(func(s *streaminfo.Stream) []byte { return s.SpanID })},
	"UPSTREAM_TRANSPORT_FAILURE_REASON":   {bare, text(func(s *streaminfo.Stream) string { return s.Upstream.FailureReason })},
	"UPSTREAM_LOCAL_CLOSE_REASON":         {bare, text(func(s *streaminfo.Stream) string { return s.Upstream.CloseReason })},
	"UPSTREAM_DETECTED_CLOSE_TYPE":        {bare, text(func(s *streaminfo.Stream) string { return s.Upstream.CloseType })},
	"UPSTREAM_SERVER_NAME":                {bare, text(func(s *streaminfo.Stream) string { return s.Upstream.ServerName })},
	"CONNECTION_TERMINATION_DETAILS":      {bare, conn(func(c *streaminfo.Connection) string { return c.Termination })},
	"DOWNSTREAM_TRANSPORT_FAILURE_REASON": {bare, conn(func(c *streaminfo.Connection) string { return c.TransportFailure })},
	"DOWNSTREAM_LOCAL_CLOSE_REASON":       {bare, conn(func(c *streaminfo.Connection) string { return c.CloseReason })},
	"DOWNSTREAM_DETECTED_CLOSE_TYPE":      {bare, conn(func(c *streaminfo.Connection) string { return c.CloseType })},
	"FILTER_CHAIN_NAME":                   {bare, conn(func(c *streaminfo.Connection) string { return c.FilterChainName })},
	"TLS_JA3_FINGERPRINT":                 {bare, conn(func(c *streaminfo.Connection) string { return c.JA3 })},
	"TLS_JA4_FINGERPRINT":                 {bare, conn(func(c *streaminfo.Connection) string { return c.JA4 })},

	"DOWNSTREAM_REMOTE_ADDRESS":                     withPort(downstreamRemote),
	"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":        withoutPort(downstreamRemote),
	"DOWNSTREAM_REMOTE_PORT":                        justPort(downstreamRemote),
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS":              withPort(downstreamDirectRemote),
	"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": withoutPort(downstreamDirectRemote),
	"DOWNSTREAM_DIRECT_REMOTE_PORT":                 justPort(downstreamDirectRemote),
	"DOWNSTREAM_LOCAL_ADDRESS":                      withPort(downstreamLocal),
	"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":         withoutPort(downstreamLocal),
	"DOWNSTREAM_LOCAL_PORT":                         justPort(downstreamLocal),
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS":               withPort(downstreamDirectLocal),
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT":  withoutPort(downstreamDirectLocal),
	"DOWNSTREAM_DIRECT_LOCAL_PORT":                  justPort(downstreamDirectLocal),
	"UPSTREAM_LOCAL_ADDRESS":                        withPort(upstreamLocal),
	"UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":           withoutPort(upstreamLocal),
	"UPSTREAM_LOCAL_PORT":                           justPort(upstreamLocal),
	"UPSTREAM_REMOTE_ADDRESS":                       withPort(upstreamRemote),
	"UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":          withoutPort(upstreamRemote),
	"UPSTREAM_REMOTE_PORT":                          justPort(upstreamRemote),
	"UPSTREAM_HOST":                                 withPort(upstreamHost),
	"UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID":           noEndpoint,
	"DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID":          noEndpoint,
	"DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID":   noEndpoint,
	"UPSTREAM_HOST_NAME":                            {bare, hostName(true)},
	"UPSTREAM_HOST_NAME_WITHOUT_PORT":               {bare, hostName(false)},
	"UPSTREAM_HOSTS_ATTEMPTED":                      {bare, attempted(false, true)},
	"UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT":         {bare, attempted(false, false)},
	"UPSTREAM_HOST_NAMES_ATTEMPTED":                 {bare, attempted(true, true)},
	"UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT":    {bare, attempted(true, false)},
	"UPSTREAM_CONNECTION_IDS_ATTEMPTED":             {bare, connectionsAttempted},

	"DOWNSTREAM_TLS_VERSION":                 ofTLS(downstreamTLS, func(t *streaminfo.TLS) string { return t.Version }),
	"DOWNSTREAM_TLS_CIPHER":                  ofTLS(downstreamTLS, func(t *streaminfo.TLS) string { return t.CipherSuite }),
	"DOWNSTREAM_TLS_GROUP":                   ofTLS(downstreamTLS, func(t *streaminfo.TLS) string { return t.Group }),
	"DOWNSTREAM_TLS_SESSION_ID":              ofTLS(downstreamTLS, func(t *streaminfo.TLS) string { return t.SessionID }),
	"DOWNSTREAM_PEER_URI_SAN":                ofCert(downstreamTLS, peerCert, uriSAN),
	"DOWNSTREAM_PEER_DNS_SAN":                ofCert(downstreamTLS, peerCert, dnsSAN),
	"DOWNSTREAM_PEER_IP_SAN":                 ofCert(downstreamTLS, peerCert, ipSAN),
	"DOWNSTREAM_PEER_EMAIL_SAN":              ofCert(downstreamTLS, peerCert, emailSAN),
	"DOWNSTREAM_PEER_OTHERNAME_SAN":          ofCert(downstreamTLS, peerCert, otherNameSAN),
	"DOWNSTREAM_LOCAL_URI_SAN":               ofCert(downstreamTLS, localCert, uriSAN),
	"DOWNSTREAM_LOCAL_DNS_SAN":               ofCert(downstreamTLS, localCert, dnsSAN),
	"DOWNSTREAM_LOCAL_IP_SAN":                ofCert(downstreamTLS, localCert, ipSAN),
	"DOWNSTREAM_LOCAL_EMAIL_SAN":             ofCert(downstreamTLS, localCert, emailSAN),
	"DOWNSTREAM_LOCAL_OTHERNAME_SAN":         ofCert(downstreamTLS, localCert, otherNameSAN),
	"DOWNSTREAM_PEER_SUBJECT":                ofCert(downstreamTLS, peerCert, subject),
	"DOWNSTREAM_PEER_ISSUER":                 ofCert(downstreamTLS, peerCert, issuer),
	"DOWNSTREAM_PEER_CERT":                   ofCert(downstreamTLS, peerCert, pemText),
	"UPSTREAM_TLS_VERSION":                   ofTLS(upstreamTLS, func(t *streaminfo.TLS) string { return t.Version }),
	"UPSTREAM_TLS_CIPHER":                    ofTLS(upstreamTLS, func(t *streaminfo.TLS) string { return t.CipherSuite }),
	"UPSTREAM_TLS_GROUP":                     ofTLS(upstreamTLS, func(t *streaminfo.TLS) string { return t.Group }),
	"UPSTREAM_TLS_SESSION_ID":                ofTLS(upstreamTLS, func(t *streaminfo.TLS) string { return t.SessionID }),
	"UPSTREAM_PEER_URI_SAN":                  ofCert(upstreamTLS, peerCert, uriSAN),
	"UPSTREAM_PEER_DNS_SAN":                  ofCert(upstreamTLS, peerCert, dnsSAN),
	"UPSTREAM_PEER_IP_SAN":                   ofCert(upstreamTLS, peerCert, ipSAN),
	"UPSTREAM_LOCAL_URI_SAN":                 ofCert(upstreamTLS, localCert, uriSAN),
	"UPSTREAM_LOCAL_DNS_SAN":                 ofCert(upstreamTLS, localCert, dnsSAN),
	"UPSTREAM_LOCAL_IP_SAN":                  ofCert(upstreamTLS, localCert, ipSAN),
	"UPSTREAM_PEER_SUBJECT":                  ofCert(upstreamTLS, peerCert, subject),
	"UPSTREAM_PEER_ISSUER":                   ofCert(upstreamTLS, peerCert, issuer),
	"UPSTREAM_PEER_CERT":                     ofCert(upstreamTLS, peerCert, pemText),
	"DOWNSTREAM_LOCAL_SUBJECT":               ofCert(downstreamTLS, localCert, subject),
	"DOWNSTREAM_PEER_SERIAL":                 ofCert(downstreamTLS, peerCert, serial),
	"DOWNSTREAM_PEER_FINGERPRINT_256":        ofCert(downstreamTLS, peerCert, fingerprint256),
	"DOWNSTREAM_PEER_FINGERPRINT_1":          ofCert(downstreamTLS, peerCert, fingerprint1),
	"DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256": ofChain(downstreamTLS, fingerprint256),
	"DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1":   ofChain(downstreamTLS, fingerprint1),
	"DOWNSTREAM_PEER_CHAIN_SERIALS":          ofChain(downstreamTLS, serial),
	"DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256": ofCert(downstreamTLS, peerIssuer, fingerprint256),
	"DOWNSTREAM_PEER_ISSUER_SERIAL":          ofCert(downstreamTLS, peerIssuer, serial),

	"METADATA":              {needs | length, metadataByKind},
	"DYNAMIC_METADATA":      {needs | length, metadataOf(kinds["DYNAMIC"], ofConnection)},
	"CLUSTER_METADATA":      {needs | length, metadataOf(kinds["CLUSTER"])},
	"UPSTREAM_METADATA":     {needs | length, metadataOf(kinds["UPSTREAM_HOST"])},
	"FILTER_STATE":          {needs | length, filterState(streamState)},
	"UPSTREAM_FILTER_STATE": {needs | length, filterState(upstreamState)},
	"PER_REQUEST_STATE":     {needs, perRequestState},
}

func connectionID(s *streaminfo.Stream) uint64 {
	if s.Conn == nil {
		return 0
	}
	return s.Conn.ID
}

func handshake(s *streaminfo.Stream) (int64, bool) {
	if s.Conn == nil {
		return 0, false
	}
	return s.Conn.Handshake.Milliseconds(), s.Conn.Handshake > 0
}

func poolReady(s *streaminfo.Stream) (int64, bool) {
	return s.Upstream.PoolReady.Milliseconds(), s.Upstream.PoolReady > 0
}
