// SPDX-License-Identifier: Apache-2.0

package header

// The well-known names. Pseudo-header fields come first.
const (
	none ID = iota
	idMethod
	idPath
	idAuthority
	idScheme
	idStatus
	idProtocol
	idHost
	idConnection
	idKeepAlive
	idProxyConnection
	idTransferEncoding
	idTE
	idTrailer
	idUpgrade
	idHTTP2Settings
	idContentLength
	idContentType
	idContentEncoding
	idContentLanguage
	idContentRange
	idAccept
	idAcceptEncoding
	idAcceptLanguage
	idAcceptRanges
	idExpect
	idDate
	idServer
	idVia
	idUserAgent
	idCookie
	idSetCookie
	idLocation
	idReferer
	idOrigin
	idAuthorization
	idProxyAuthorization
	idProxyAuthenticate
	idWWWAuthenticate
	idCacheControl
	idAge
	idETag
	idVary
	idRange
	idExpires
	idLastModified
	idIfMatch
	idIfNoneMatch
	idIfModifiedSince
	idPragma
	idAllow
	idRetryAfter
	idAltSvc
	idStrictTransportSecurity
	idLink
	idForwarded
	idXForwardedFor
	idXForwardedProto
	idXForwardedHost
	idXForwardedPort
	idXForwardedPrefix
	idXForwardedClientCert
	idXRealIP
	idXRequestID
	idXClientTraceID
	idXOtSpanContext
	idTraceparent
	idTracestate
	idB3
	idXB3TraceID
	idXB3SpanID
	idXB3Sampled
	idGRPCStatus
	idGRPCMessage
	idGRPCTimeout
	idGRPCEncoding
	idGRPCAcceptEncoding
	idAccessControlRequestMethod
	idAccessControlRequestHeaders
	idAccessControlRequestPrivateNetwork
	idAccessControlAllowOrigin
	idAccessControlAllowMethods
	idAccessControlAllowHeaders
	idAccessControlAllowCredentials
	idAccessControlAllowPrivateNetwork
	idAccessControlExposeHeaders
	idAccessControlMaxAge
	idXEnvoyExternalAddress
	idXEnvoyInternal
	idXEnvoyOriginalPath
	idXEnvoyOriginalHost
	idXEnvoyOriginalMethod
	idXEnvoyExpectedRqTimeoutMs
	idXEnvoyUpstreamRqTimeoutMs
	idXEnvoyUpstreamRqPerTryTimeoutMs
	idXEnvoyUpstreamRqTimeoutAltResponse
	idXEnvoyMaxRetries
	idXEnvoyRetryOn
	idXEnvoyRetryGrpcOn
	idXEnvoyRetriableStatusCodes
	idXEnvoyRetriableHeaderNames
	idXEnvoyHedgeOnPerTryTimeout
	idXEnvoyAttemptCount
	idXEnvoyIsTimeoutRetry
	idXEnvoyUpstreamServiceTime
	idXEnvoyUpstreamHealthcheckedCluster
	idXEnvoyUpstreamCanary
	idXEnvoyUpstreamAltStatName
	idXEnvoyUpstreamStreamDurationMs
	idXEnvoyImmediateHealthCheckFail
	idXEnvoyDegraded
	idXEnvoyOverloaded
	idXEnvoyLocalOverloaded
	idXEnvoyRatelimited
	idXEnvoyDecoratorOperation
	idXEnvoyDownstreamServiceCluster
	idXEnvoyDownstreamServiceNode
	idXEnvoyForceTrace
	idXEnvoyIPTags
	idXEnvoyPeerMetadata
	idXEnvoyPeerMetadataID
	numIDs
)

// lastPseudo is the highest ID of a pseudo-header field.
const lastPseudo = idProtocol

// firstEnvoy is the lowest ID of the x-envoy fields that only trusted peers send;
// they come last.
const firstEnvoy = idXEnvoyOriginalPath

// names has each well-known name at its ID.
var names = [numIDs]string{
	idMethod:                             ":method",
	idPath:                               ":path",
	idAuthority:                          ":authority",
	idScheme:                             ":scheme",
	idStatus:                             ":status",
	idProtocol:                           ":protocol",
	idHost:                               "host",
	idConnection:                         "connection",
	idKeepAlive:                          "keep-alive",
	idProxyConnection:                    "proxy-connection",
	idTransferEncoding:                   "transfer-encoding",
	idTE:                                 "te",
	idTrailer:                            "trailer",
	idUpgrade:                            "upgrade",
	idHTTP2Settings:                      "http2-settings",
	idContentLength:                      "content-length",
	idContentType:                        "content-type",
	idContentEncoding:                    "content-encoding",
	idContentLanguage:                    "content-language",
	idContentRange:                       "content-range",
	idAccept:                             "accept",
	idAcceptEncoding:                     "accept-encoding",
	idAcceptLanguage:                     "accept-language",
	idAcceptRanges:                       "accept-ranges",
	idExpect:                             "expect",
	idDate:                               "date",
	idServer:                             "server",
	idVia:                                "via",
	idUserAgent:                          "user-agent",
	idCookie:                             "cookie",
	idSetCookie:                          "set-cookie",
	idLocation:                           "location",
	idReferer:                            "referer",
	idOrigin:                             "origin",
	idAuthorization:                      "authorization",
	idProxyAuthorization:                 "proxy-authorization",
	idProxyAuthenticate:                  "proxy-authenticate",
	idWWWAuthenticate:                    "www-authenticate",
	idCacheControl:                       "cache-control",
	idAge:                                "age",
	idETag:                               "etag",
	idVary:                               "vary",
	idRange:                              "range",
	idExpires:                            "expires",
	idLastModified:                       "last-modified",
	idIfMatch:                            "if-match",
	idIfNoneMatch:                        "if-none-match",
	idIfModifiedSince:                    "if-modified-since",
	idPragma:                             "pragma",
	idAllow:                              "allow",
	idRetryAfter:                         "retry-after",
	idAltSvc:                             "alt-svc",
	idStrictTransportSecurity:            "strict-transport-security",
	idLink:                               "link",
	idForwarded:                          "forwarded",
	idXForwardedFor:                      "x-forwarded-for",
	idXForwardedProto:                    "x-forwarded-proto",
	idXForwardedHost:                     "x-forwarded-host",
	idXForwardedPort:                     "x-forwarded-port",
	idXForwardedPrefix:                   "x-forwarded-prefix",
	idXForwardedClientCert:               "x-forwarded-client-cert",
	idXRealIP:                            "x-real-ip",
	idXRequestID:                         "x-request-id",
	idXClientTraceID:                     "x-client-trace-id",
	idXOtSpanContext:                     "x-ot-span-context",
	idTraceparent:                        "traceparent",
	idTracestate:                         "tracestate",
	idB3:                                 "b3",
	idXB3TraceID:                         "x-b3-traceid",
	idXB3SpanID:                          "x-b3-spanid",
	idXB3Sampled:                         "x-b3-sampled",
	idGRPCStatus:                         "grpc-status",
	idGRPCMessage:                        "grpc-message",
	idGRPCTimeout:                        "grpc-timeout",
	idGRPCEncoding:                       "grpc-encoding",
	idGRPCAcceptEncoding:                 "grpc-accept-encoding",
	idAccessControlRequestMethod:         "access-control-request-method",
	idAccessControlRequestHeaders:        "access-control-request-headers",
	idAccessControlRequestPrivateNetwork: "access-control-request-private-network",
	idAccessControlAllowOrigin:           "access-control-allow-origin",
	idAccessControlAllowMethods:          "access-control-allow-methods",
	idAccessControlAllowHeaders:          "access-control-allow-headers",
	idAccessControlAllowCredentials:      "access-control-allow-credentials",
	idAccessControlAllowPrivateNetwork:   "access-control-allow-private-network",
	idAccessControlExposeHeaders:         "access-control-expose-headers",
	idAccessControlMaxAge:                "access-control-max-age",
	idXEnvoyExternalAddress:              "x-envoy-external-address",
	idXEnvoyInternal:                     "x-envoy-internal",
	idXEnvoyOriginalPath:                 "x-envoy-original-path",
	idXEnvoyOriginalHost:                 "x-envoy-original-host",
	idXEnvoyOriginalMethod:               "x-envoy-original-method",
	idXEnvoyExpectedRqTimeoutMs:          "x-envoy-expected-rq-timeout-ms",
	idXEnvoyUpstreamRqTimeoutMs:          "x-envoy-upstream-rq-timeout-ms",
	idXEnvoyUpstreamRqPerTryTimeoutMs:    "x-envoy-upstream-rq-per-try-timeout-ms",
	idXEnvoyUpstreamRqTimeoutAltResponse: "x-envoy-upstream-rq-timeout-alt-response",
	idXEnvoyMaxRetries:                   "x-envoy-max-retries",
	idXEnvoyRetryOn:                      "x-envoy-retry-on",
	idXEnvoyRetryGrpcOn:                  "x-envoy-retry-grpc-on",
	idXEnvoyRetriableStatusCodes:         "x-envoy-retriable-status-codes",
	idXEnvoyRetriableHeaderNames:         "x-envoy-retriable-header-names",
	idXEnvoyHedgeOnPerTryTimeout:         "x-envoy-hedge-on-per-try-timeout",
	idXEnvoyAttemptCount:                 "x-envoy-attempt-count",
	idXEnvoyIsTimeoutRetry:               "x-envoy-is-timeout-retry",
	idXEnvoyUpstreamServiceTime:          "x-envoy-upstream-service-time",
	idXEnvoyUpstreamHealthcheckedCluster: "x-envoy-upstream-healthchecked-cluster",
	idXEnvoyUpstreamCanary:               "x-envoy-upstream-canary",
	idXEnvoyUpstreamAltStatName:          "x-envoy-upstream-alt-stat-name",
	idXEnvoyUpstreamStreamDurationMs:     "x-envoy-upstream-stream-duration-ms",
	idXEnvoyImmediateHealthCheckFail:     "x-envoy-immediate-health-check-fail",
	idXEnvoyDegraded:                     "x-envoy-degraded",
	idXEnvoyOverloaded:                   "x-envoy-overloaded",
	idXEnvoyLocalOverloaded:              "x-envoy-local-overloaded",
	idXEnvoyRatelimited:                  "x-envoy-ratelimited",
	idXEnvoyDecoratorOperation:           "x-envoy-decorator-operation",
	idXEnvoyDownstreamServiceCluster:     "x-envoy-downstream-service-cluster",
	idXEnvoyDownstreamServiceNode:        "x-envoy-downstream-service-node",
	idXEnvoyForceTrace:                   "x-envoy-force-trace",
	idXEnvoyIPTags:                       "x-envoy-ip-tags",
	idXEnvoyPeerMetadata:                 "x-envoy-peer-metadata",
	idXEnvoyPeerMetadataID:               "x-envoy-peer-metadata-id",
}

// Well-known names, resolved.
var (
	Method                             = Name{names[idMethod], idMethod}
	Path                               = Name{names[idPath], idPath}
	Authority                          = Name{names[idAuthority], idAuthority}
	Scheme                             = Name{names[idScheme], idScheme}
	Status                             = Name{names[idStatus], idStatus}
	Protocol                           = Name{names[idProtocol], idProtocol}
	Host                               = Name{names[idHost], idHost}
	Connection                         = Name{names[idConnection], idConnection}
	KeepAlive                          = Name{names[idKeepAlive], idKeepAlive}
	ProxyConnection                    = Name{names[idProxyConnection], idProxyConnection}
	TransferEncoding                   = Name{names[idTransferEncoding], idTransferEncoding}
	TE                                 = Name{names[idTE], idTE}
	Trailer                            = Name{names[idTrailer], idTrailer}
	Upgrade                            = Name{names[idUpgrade], idUpgrade}
	HTTP2Settings                      = Name{names[idHTTP2Settings], idHTTP2Settings}
	ContentLength                      = Name{names[idContentLength], idContentLength}
	ContentType                        = Name{names[idContentType], idContentType}
	ContentEncoding                    = Name{names[idContentEncoding], idContentEncoding}
	ContentLanguage                    = Name{names[idContentLanguage], idContentLanguage}
	ContentRange                       = Name{names[idContentRange], idContentRange}
	Accept                             = Name{names[idAccept], idAccept}
	AcceptEncoding                     = Name{names[idAcceptEncoding], idAcceptEncoding}
	AcceptLanguage                     = Name{names[idAcceptLanguage], idAcceptLanguage}
	AcceptRanges                       = Name{names[idAcceptRanges], idAcceptRanges}
	Expect                             = Name{names[idExpect], idExpect}
	Date                               = Name{names[idDate], idDate}
	Server                             = Name{names[idServer], idServer}
	Via                                = Name{names[idVia], idVia}
	UserAgent                          = Name{names[idUserAgent], idUserAgent}
	Cookie                             = Name{names[idCookie], idCookie}
	SetCookie                          = Name{names[idSetCookie], idSetCookie}
	Location                           = Name{names[idLocation], idLocation}
	Referer                            = Name{names[idReferer], idReferer}
	Origin                             = Name{names[idOrigin], idOrigin}
	Authorization                      = Name{names[idAuthorization], idAuthorization}
	ProxyAuthorization                 = Name{names[idProxyAuthorization], idProxyAuthorization}
	ProxyAuthenticate                  = Name{names[idProxyAuthenticate], idProxyAuthenticate}
	WWWAuthenticate                    = Name{names[idWWWAuthenticate], idWWWAuthenticate}
	CacheControl                       = Name{names[idCacheControl], idCacheControl}
	Age                                = Name{names[idAge], idAge}
	ETag                               = Name{names[idETag], idETag}
	Vary                               = Name{names[idVary], idVary}
	Range                              = Name{names[idRange], idRange}
	Expires                            = Name{names[idExpires], idExpires}
	LastModified                       = Name{names[idLastModified], idLastModified}
	IfMatch                            = Name{names[idIfMatch], idIfMatch}
	IfNoneMatch                        = Name{names[idIfNoneMatch], idIfNoneMatch}
	IfModifiedSince                    = Name{names[idIfModifiedSince], idIfModifiedSince}
	Pragma                             = Name{names[idPragma], idPragma}
	Allow                              = Name{names[idAllow], idAllow}
	RetryAfter                         = Name{names[idRetryAfter], idRetryAfter}
	AltSvc                             = Name{names[idAltSvc], idAltSvc}
	StrictTransportSecurity            = Name{names[idStrictTransportSecurity], idStrictTransportSecurity}
	Link                               = Name{names[idLink], idLink}
	Forwarded                          = Name{names[idForwarded], idForwarded}
	XForwardedFor                      = Name{names[idXForwardedFor], idXForwardedFor}
	XForwardedProto                    = Name{names[idXForwardedProto], idXForwardedProto}
	XForwardedHost                     = Name{names[idXForwardedHost], idXForwardedHost}
	XForwardedPort                     = Name{names[idXForwardedPort], idXForwardedPort}
	XForwardedPrefix                   = Name{names[idXForwardedPrefix], idXForwardedPrefix}
	XForwardedClientCert               = Name{names[idXForwardedClientCert], idXForwardedClientCert}
	XRealIP                            = Name{names[idXRealIP], idXRealIP}
	XRequestID                         = Name{names[idXRequestID], idXRequestID}
	XClientTraceID                     = Name{names[idXClientTraceID], idXClientTraceID}
	XOtSpanContext                     = Name{names[idXOtSpanContext], idXOtSpanContext}
	Traceparent                        = Name{names[idTraceparent], idTraceparent}
	Tracestate                         = Name{names[idTracestate], idTracestate}
	B3                                 = Name{names[idB3], idB3}
	XB3TraceID                         = Name{names[idXB3TraceID], idXB3TraceID}
	XB3SpanID                          = Name{names[idXB3SpanID], idXB3SpanID}
	XB3Sampled                         = Name{names[idXB3Sampled], idXB3Sampled}
	GRPCStatus                         = Name{names[idGRPCStatus], idGRPCStatus}
	GRPCMessage                        = Name{names[idGRPCMessage], idGRPCMessage}
	GRPCTimeout                        = Name{names[idGRPCTimeout], idGRPCTimeout}
	GRPCEncoding                       = Name{names[idGRPCEncoding], idGRPCEncoding}
	GRPCAcceptEncoding                 = Name{names[idGRPCAcceptEncoding], idGRPCAcceptEncoding}
	AccessControlRequestMethod         = Name{names[idAccessControlRequestMethod], idAccessControlRequestMethod}
	AccessControlRequestHeaders        = Name{names[idAccessControlRequestHeaders], idAccessControlRequestHeaders}
	AccessControlRequestPrivateNetwork = Name{names[idAccessControlRequestPrivateNetwork], idAccessControlRequestPrivateNetwork}
	AccessControlAllowOrigin           = Name{names[idAccessControlAllowOrigin], idAccessControlAllowOrigin}
	AccessControlAllowMethods          = Name{names[idAccessControlAllowMethods], idAccessControlAllowMethods}
	AccessControlAllowHeaders          = Name{names[idAccessControlAllowHeaders], idAccessControlAllowHeaders}
	AccessControlAllowCredentials      = Name{names[idAccessControlAllowCredentials], idAccessControlAllowCredentials}
	AccessControlAllowPrivateNetwork   = Name{names[idAccessControlAllowPrivateNetwork], idAccessControlAllowPrivateNetwork}
	AccessControlExposeHeaders         = Name{names[idAccessControlExposeHeaders], idAccessControlExposeHeaders}
	AccessControlMaxAge                = Name{names[idAccessControlMaxAge], idAccessControlMaxAge}
	XEnvoyExternalAddress              = Name{names[idXEnvoyExternalAddress], idXEnvoyExternalAddress}
	XEnvoyInternal                     = Name{names[idXEnvoyInternal], idXEnvoyInternal}
	XEnvoyOriginalPath                 = Name{names[idXEnvoyOriginalPath], idXEnvoyOriginalPath}
	XEnvoyOriginalHost                 = Name{names[idXEnvoyOriginalHost], idXEnvoyOriginalHost}
	XEnvoyOriginalMethod               = Name{names[idXEnvoyOriginalMethod], idXEnvoyOriginalMethod}
	XEnvoyExpectedRqTimeoutMs          = Name{names[idXEnvoyExpectedRqTimeoutMs], idXEnvoyExpectedRqTimeoutMs}
	XEnvoyUpstreamRqTimeoutMs          = Name{names[idXEnvoyUpstreamRqTimeoutMs], idXEnvoyUpstreamRqTimeoutMs}
	XEnvoyUpstreamRqPerTryTimeoutMs    = Name{names[idXEnvoyUpstreamRqPerTryTimeoutMs], idXEnvoyUpstreamRqPerTryTimeoutMs}
	XEnvoyUpstreamRqTimeoutAltResponse = Name{names[idXEnvoyUpstreamRqTimeoutAltResponse], idXEnvoyUpstreamRqTimeoutAltResponse}
	XEnvoyMaxRetries                   = Name{names[idXEnvoyMaxRetries], idXEnvoyMaxRetries}
	XEnvoyRetryOn                      = Name{names[idXEnvoyRetryOn], idXEnvoyRetryOn}
	XEnvoyRetryGrpcOn                  = Name{names[idXEnvoyRetryGrpcOn], idXEnvoyRetryGrpcOn}
	XEnvoyRetriableStatusCodes         = Name{names[idXEnvoyRetriableStatusCodes], idXEnvoyRetriableStatusCodes}
	XEnvoyRetriableHeaderNames         = Name{names[idXEnvoyRetriableHeaderNames], idXEnvoyRetriableHeaderNames}
	XEnvoyHedgeOnPerTryTimeout         = Name{names[idXEnvoyHedgeOnPerTryTimeout], idXEnvoyHedgeOnPerTryTimeout}
	XEnvoyAttemptCount                 = Name{names[idXEnvoyAttemptCount], idXEnvoyAttemptCount}
	XEnvoyIsTimeoutRetry               = Name{names[idXEnvoyIsTimeoutRetry], idXEnvoyIsTimeoutRetry}
	XEnvoyUpstreamServiceTime          = Name{names[idXEnvoyUpstreamServiceTime], idXEnvoyUpstreamServiceTime}
	XEnvoyUpstreamHealthcheckedCluster = Name{names[idXEnvoyUpstreamHealthcheckedCluster], idXEnvoyUpstreamHealthcheckedCluster}
	XEnvoyUpstreamCanary               = Name{names[idXEnvoyUpstreamCanary], idXEnvoyUpstreamCanary}
	XEnvoyUpstreamAltStatName          = Name{names[idXEnvoyUpstreamAltStatName], idXEnvoyUpstreamAltStatName}
	XEnvoyUpstreamStreamDurationMs     = Name{names[idXEnvoyUpstreamStreamDurationMs], idXEnvoyUpstreamStreamDurationMs}
	XEnvoyImmediateHealthCheckFail     = Name{names[idXEnvoyImmediateHealthCheckFail], idXEnvoyImmediateHealthCheckFail}
	XEnvoyDegraded                     = Name{names[idXEnvoyDegraded], idXEnvoyDegraded}
	XEnvoyOverloaded                   = Name{names[idXEnvoyOverloaded], idXEnvoyOverloaded}
	XEnvoyLocalOverloaded              = Name{names[idXEnvoyLocalOverloaded], idXEnvoyLocalOverloaded}
	XEnvoyRatelimited                  = Name{names[idXEnvoyRatelimited], idXEnvoyRatelimited}
	XEnvoyDecoratorOperation           = Name{names[idXEnvoyDecoratorOperation], idXEnvoyDecoratorOperation}
	XEnvoyDownstreamServiceCluster     = Name{names[idXEnvoyDownstreamServiceCluster], idXEnvoyDownstreamServiceCluster}
	XEnvoyDownstreamServiceNode        = Name{names[idXEnvoyDownstreamServiceNode], idXEnvoyDownstreamServiceNode}
	XEnvoyForceTrace                   = Name{names[idXEnvoyForceTrace], idXEnvoyForceTrace}
	XEnvoyIPTags                       = Name{names[idXEnvoyIPTags], idXEnvoyIPTags}
	XEnvoyPeerMetadata                 = Name{names[idXEnvoyPeerMetadata], idXEnvoyPeerMetadata}
	XEnvoyPeerMetadataID               = Name{names[idXEnvoyPeerMetadataID], idXEnvoyPeerMetadataID}
)
