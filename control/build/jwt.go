// SPDX-License-Identifier: Apache-2.0

package build

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	jwtauthnv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// JWT is the tokens that a chain's routes may ask for, by names of their own.
func JWT() *jwtauthnv3.JwtAuthentication {
	return &jwtauthnv3.JwtAuthentication{
		Providers: map[string]*jwtauthnv3.JwtProvider{}, RequirementMap: map[string]*jwtauthnv3.JwtRequirement{},
	}
}

// The defaults of keys that are fetched.
const (
	jwksTimeout = 10 * time.Second
	jwksCache   = 5 * time.Minute
	jwksRetry   = time.Second
)

// RemoteKeys has a provider's keys fetched from a cluster, ahead of requests, and again
// when they are as old as cache; after a failure, after retry. 0 is the default: five
// minutes, and a second.
func RemoteKeys(uri, cluster string, cache, retry time.Duration) *jwtauthnv3.JwtProvider_RemoteJwks {
	if cache == 0 {
		cache = jwksCache
	}
	if retry == 0 {
		retry = jwksRetry
	}
	return &jwtauthnv3.JwtProvider_RemoteJwks{RemoteJwks: &jwtauthnv3.RemoteJwks{
		HttpUri:       &corev3.HttpUri{Uri: uri, HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: cluster}, Timeout: duration(jwksTimeout)},
		CacheDuration: duration(cache),
		AsyncFetch:    &jwtauthnv3.JwksAsyncFetch{FailedRefetchDuration: duration(retry)},
	}}
}

// LocalKeys are a provider's keys.
func LocalKeys(jwks string) *jwtauthnv3.JwtProvider_LocalJwks {
	return &jwtauthnv3.JwtProvider_LocalJwks{LocalJwks: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: jwks}}}
}

// AnyToken asks for a token of one of the providers. With optional, requests without one
// pass; with open, those with a bad one, too.
func AnyToken(providers []string, optional, open bool) *jwtauthnv3.JwtRequirement {
	var list []*jwtauthnv3.JwtRequirement
	for _, p := range providers {
		list = append(list, &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_ProviderName{ProviderName: p}})
	}
	switch {
	case open:
		list = append(list, &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_AllowMissingOrFailed{AllowMissingOrFailed: &emptypb.Empty{}}})
	case optional:
		list = append(list, &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_AllowMissing{AllowMissing: &emptypb.Empty{}}})
	}
	if len(list) == 1 {
		return list[0]
	}
	return &jwtauthnv3.JwtRequirement{RequiresType: &jwtauthnv3.JwtRequirement_RequiresAny{RequiresAny: &jwtauthnv3.JwtRequirementOrList{Requirements: list}}}
}

// RequireJWT has a route ask for what a requirement of the chain says.
func RequireJWT(requirement string) *anypb.Any {
	return Any(&jwtauthnv3.PerRouteConfig{RequirementSpecifier: &jwtauthnv3.PerRouteConfig_RequirementName{RequirementName: requirement}})
}
