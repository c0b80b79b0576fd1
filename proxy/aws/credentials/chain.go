// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"weir.dev/weir/proxy/aws/sign"
	"weir.dev/weir/proxy/stats"
)

// errAbsent is wrapped by the errors of a step that the environment does not ask for.
var errAbsent = errors.New("not there")

func absent(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errAbsent, fmt.Sprintf(format, args...))
}

// found is what a step has found.
type found struct {
	creds   sign.Credentials
	expires time.Time // zero: never
}

// step is one place where credentials may be.
type step struct {
	name string
	// service is what Envoy calls the service that is asked, "" for what is at hand.
	service string
	find    func(context.Context) (*found, error)
}

// finder searches along steps. It is used by one goroutine at a time.
type finder struct {
	steps []step
	stats *stats.Store // nil counts nothing
	last  int          // the step that found something, plus one; 0: none
}

// count counts what came of asking the service of a step.
func (f *finder) count(s *step, err error) {
	if f.stats == nil || s.service == "" || errors.Is(err, errAbsent) {
		return
	}
	in := f.stats.Scope("aws.metadata_credentials_provider." + s.service)
	in.Counter("credential_refreshes_performed").Inc()
	if err != nil {
		in.Counter("credential_refreshes_failed").Inc()
	} else {
		in.Counter("credential_refreshes_succeeded").Inc()
	}
}

func (f *finder) source() string {
	if f.last == 0 {
		return ""
	}
	return f.steps[f.last-1].name
}

// find returns what the first step finds that finds anything. While former credentials
// are good no step behind theirs is asked: who is renewed does not become another for a
// failure that passes.
func (f *finder) find(ctx context.Context, good bool) (*found, error) {
	steps := f.steps
	if good && f.last > 0 {
		steps = steps[:f.last]
	}
	var errs []error
	for i := range steps {
		s := &steps[i]
		c, err := s.find(ctx)
		if err == nil && (c.creds.AccessKeyID == "" || c.creds.SecretAccessKey == "") {
			err = errors.New("the answer has no access key")
		}
		if err == nil && !c.expires.IsZero() && !time.Now().Before(c.expires) {
			err = fmt.Errorf("the credentials had expired at %s", c.expires.UTC().Format(time.RFC3339))
		}
		f.count(s, err)
		if err == nil {
			f.last = i + 1
			return c, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
	}
	return nil, errors.Join(errs...)
}

// Retrieve makes a finder the source of the credentials that AssumeRole is asked with.
func (f *finder) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := f.find(ctx, false)
	if err != nil {
		return aws.Credentials{}, err
	}
	return aws.Credentials{
		AccessKeyID: c.creds.AccessKeyID, SecretAccessKey: c.creds.SecretAccessKey, SessionToken: c.creds.SessionToken,
		CanExpire: !c.expires.IsZero(), Expires: c.expires,
	}, nil
}

// ask adapts a provider of the SDK.
func ask(ctx context.Context, p aws.CredentialsProvider) (*found, error) {
	c, err := p.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	f := &found{creds: sign.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}}
	if c.CanExpire {
		f.expires = c.Expires
	}
	return f, nil
}

// retryer tries little: the provider itself tries again and again.
func retryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = 3, time.Second })
}

// chain makes the steps of a configuration.
func (c *Config) chain(e *Environment) []step {
	var steps []step
	add := func(on bool, name, service string, find func(context.Context) (*found, error)) {
		if on {
			steps = append(steps, step{name, service, find})
		}
	}
	security := "sts_token_service_internal-" + c.region
	add(c.environment, "environment", "", e.environment)
	if c.file != nil {
		add(true, "credentials file", "", func(context.Context) (*found, error) { return c.file.find(e) })
	}
	if c.role != nil {
		base := &finder{steps: c.role.base.chain(e)}
		add(true, "assume role", security, func(ctx context.Context) (*found, error) { return c.role.find(ctx, e, c.region, base) })
	}
	if a := c.anywhere; a != nil {
		add(true, "IAM Roles Anywhere", strings.ReplaceAll(a.host(), ".", "_"), func(ctx context.Context) (*found, error) { return a.find(ctx, e) })
	}
	if c.web != nil {
		add(true, "web identity", security, func(ctx context.Context) (*found, error) { return c.web.find(ctx, e, c.region) })
	}
	add(c.container, "container", "ecs_task_metadata_server_internal", e.container)
	add(c.instance, "instance metadata", "ec2_instance_metadata_server_internal", e.instance)
	if c.inline != nil { // In the chain that AssumeRole is asked with.
		steps = []step{{"inline", "", func(context.Context) (*found, error) { return &found{creds: *c.inline}, nil }}}
	}
	return steps
}

func (e *Environment) environment(context.Context) (*found, error) {
	c := sign.Credentials{AccessKeyID: e.get("AWS_ACCESS_KEY_ID"), SecretAccessKey: e.get("AWS_SECRET_ACCESS_KEY"), SessionToken: e.get("AWS_SESSION_TOKEN")}
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return nil, absent("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set")
	}
	return &found{creds: c}, nil
}

// Addresses that container credentials are served at, besides this machine's own.
const (
	ecsHost  = "169.254.170.2"
	eksHost  = "169.254.170.23"
	eksHost6 = "fd00:ec2::23"
)

// container asks the agent of ECS, or of EKS pod identity.
func (e *Environment) container(ctx context.Context) (*found, error) {
	uri := e.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	if rel := e.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"); rel != "" {
		uri = "http://" + ecsHost + rel
	}
	if uri == "" {
		return nil, absent("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI are not set")
	}
	if err := safeToAsk(uri); err != nil {
		return nil, err
	}
	return ask(ctx, endpointcreds.New(uri, func(o *endpointcreds.Options) {
		o.HTTPClient, o.Retryer = client(false), retryer()
		o.AuthorizationToken = e.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
		if name := e.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); name != "" {
			o.AuthorizationTokenProvider = endpointcreds.TokenProviderFunc(func() (string, error) {
				b, err := readFile(name)
				return strings.TrimSpace(string(b)), err
			})
		}
	}))
}

// safeToAsk refuses to tell a token, and to take credentials, in the clear over a
// network.
func safeToAsk(uri string) error {
	u, err := url.Parse(uri)
	if err != nil {
		return fmt.Errorf("AWS_CONTAINER_CREDENTIALS_FULL_URI: %w", err)
	}
	if u.Scheme == "https" {
		return nil
	}
	host := u.Hostname()
	a, err := netip.ParseAddr(host)
	if u.Scheme == "http" && (host == "localhost" || err == nil && (a.IsLoopback() || host == ecsHost || host == eksHost || host == eksHost6)) {
		return nil
	}
	return fmt.Errorf("AWS_CONTAINER_CREDENTIALS_FULL_URI: %q is neither https nor the address of this machine or of an ECS or EKS agent", u.Redacted())
}

// instance asks the metadata service of EC2.
func (e *Environment) instance(ctx context.Context) (*found, error) {
	if strings.EqualFold(e.get("AWS_EC2_METADATA_DISABLED"), "true") {
		return nil, absent("AWS_EC2_METADATA_DISABLED is true")
	}
	o := imds.Options{Endpoint: e.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"), HTTPClient: metadataClient(), ClientEnableState: imds.ClientEnabled, Retryer: retryer()}
	if strings.EqualFold(e.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"), "IPv6") {
		o.EndpointMode = imds.EndpointModeStateIPv6
	}
	return ask(ctx, ec2rolecreds.New(func(r *ec2rolecreds.Options) { r.Client = imds.New(o) }))
}

// webIdentity is AssumeRoleWithWebIdentity; what is empty is the environment's.
type webIdentity struct {
	token         *source
	role, session string
}

func (w *webIdentity) find(ctx context.Context, e *Environment, region string) (*found, error) {
	token, role := w.token, w.role
	if token == nil {
		name := e.get("AWS_WEB_IDENTITY_TOKEN_FILE")
		if name == "" {
			return nil, absent("AWS_WEB_IDENTITY_TOKEN_FILE is not set")
		}
		token = &source{file: name}
	}
	if role == "" {
		if role = e.get("AWS_ROLE_ARN"); role == "" {
			return nil, absent("AWS_ROLE_ARN is not set")
		}
	}
	c := e.sts(region, aws.AnonymousCredentials{})
	return ask(ctx, stscreds.NewWebIdentityRoleProvider(c, role, tokenReader{token, e}, func(o *stscreds.WebIdentityRoleOptions) {
		o.RoleSessionName = e.session(w.session)
	}))
}

// tokenReader reads a token anew for each call: files are rotated.
type tokenReader struct {
	from *source
	env  *Environment
}

// GetIdentityToken implements stscreds.IdentityTokenRetriever.
func (r tokenReader) GetIdentityToken() ([]byte, error) {
	b, err := r.from.read(r.env)
	return []byte(strings.TrimSpace(string(b))), err
}

// assumeRole is AssumeRole, asked with the credentials of base.
type assumeRole struct {
	base                    *Config
	role, session, external string
	duration                time.Duration // 0: STS's own
}

func (r *assumeRole) find(ctx context.Context, e *Environment, region string, base *finder) (*found, error) {
	c := e.sts(region, base)
	return ask(ctx, stscreds.NewAssumeRoleProvider(c, r.role, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName, o.Duration = e.session(r.session), r.duration
		if r.external != "" {
			o.ExternalID = &r.external
		}
		if r.duration == 0 {
			o.Duration = time.Hour
		}
	}))
}

// session is the name of a session: the configured, the environment's, or the SDK's.
func (e *Environment) session(configured string) string {
	if configured != "" {
		return configured
	}
	return e.get("AWS_ROLE_SESSION_NAME")
}

// sts makes a client of the Security Token Service of a region; of a set of regions,
// of the first.
func (e *Environment) sts(region string, with aws.CredentialsProvider) *sts.Client {
	region, _, _ = strings.Cut(region, ",")
	if region == "" || strings.Contains(region, "*") {
		region = "aws-global"
	}
	o := sts.Options{Region: region, Credentials: with, HTTPClient: client(true), Retryer: retryer()}
	if v := e.endpoint("STS"); v != "" {
		o.BaseEndpoint = &v
	}
	return sts.New(o)
}

// endpoint is the URL that the environment names for a service, "" if it names none.
func (e *Environment) endpoint(service string) string {
	return cmp.Or(e.get("AWS_ENDPOINT_URL_"+service), e.get("AWS_ENDPOINT_URL"))
}

// source is a DataSource: one of its fields is set.
type source struct {
	file, env, inline string
}

func (s *source) read(e *Environment) ([]byte, error) {
	switch {
	case s.file != "":
		return readFile(s.file)
	case s.env != "":
		v := e.get(s.env)
		if v == "" {
			return nil, absent("%s is not set", s.env)
		}
		return []byte(v), nil
	}
	return []byte(s.inline), nil
}

// maxFile bounds a file of credentials or a token, in bytes.
const maxFile = 1 << 20

func readFile(name string) ([]byte, error) {
	st, err := os.Stat(name)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, absent("%s", name)
	case err != nil:
		return nil, err
	case st.Size() > maxFile:
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxFile)
	}
	return os.ReadFile(name)
}
