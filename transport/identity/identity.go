// Package identity has the identities of nodes: X.509 certificates of the fleet's own
// authority, with role, region and name in a URI.
//
// Entry points: [InitHome] makes the trust of a fleet, and [Home.Issue] the bundle of a
// process; [Load] reads a bundle; [Bundle.ServerTLS], [Bundle.ClientTLS] and [Bundle.ControlTLS] configure QUIC and
// HTTPS; [PeerOf] returns the identity of a peer.
//
//	banyan://coordinator/eu/coordinator-eu     in the URI SAN of a certificate
//
// Node certificates authenticate links and sign no config. Configs are signed with publisher
// and activation keys (package record). The certificates of agents and coordinators also carry
// the DNS name ServerName, so that TLS verifies them in the ordinary way at any address.
package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"banyan/mesh/wire"
	"banyan/record"
)

// ServerName is the DNS name in the certificates of agents and coordinators.
const ServerName = "node.banyan.internal"

// Role is the role of the holder of a certificate.
type Role string

// The roles.
const (
	RoleAgent       Role = "agent"
	RoleCoordinator Role = "coordinator"
	RoleClient      Role = "client" // a person or program that uses the control API
)

// Identity identifies the holder of a certificate.
type Identity struct {
	Role   Role
	Region string
	Name   string
}

// ErrIdentity is wrapped if an identity is not possible, if a certificate has no identity, or
// if its holder must have another role.
var ErrIdentity = errors.New("unsuitable identity")

// Validate checks the role, the region and the name. Its errors wrap ErrIdentity.
func (id Identity) Validate() error {
	switch id.Role {
	case RoleAgent, RoleCoordinator, RoleClient:
	default:
		return fmt.Errorf("%w: role %q; use agent, coordinator or client", ErrIdentity, id.Role)
	}
	if err := record.ValidateRegion(id.Region); err != nil {
		return fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	if err := record.ValidateConfig(id.Name); err != nil || strings.Contains(id.Name, "/") {
		return fmt.Errorf("%w: name %q; use 1 to %d letters, digits, '.', '_' and '-'",
			ErrIdentity, id.Name, record.MaxSegment)
	}
	return nil
}

func (id Identity) uri() *url.URL {
	return &url.URL{Scheme: "banyan", Host: string(id.Role), Path: "/" + id.Region + "/" + id.Name}
}

// String returns the URI of the identity.
func (id Identity) String() string { return id.uri().String() }

// Mesh converts the identity for package mesh.
func (id Identity) Mesh() wire.Identity {
	m := wire.Identity{Region: id.Region, Name: id.Name}
	switch id.Role {
	case RoleAgent:
		m.Role = wire.RoleAgent
	case RoleCoordinator:
		m.Role = wire.RoleCoordinator
	}
	return m
}

// Of returns the identity in a certificate. It does not verify the certificate. The error
// wraps ErrIdentity if the first URI with the scheme "banyan" is no valid identity, or if
// there is no such URI.
func Of(cert *x509.Certificate) (Identity, error) {
	for _, u := range cert.URIs {
		if u.Scheme != "banyan" {
			continue
		}
		region, name, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		id := Identity{Role: Role(u.Host), Region: region, Name: name}
		if err := id.Validate(); !ok || err != nil {
			return Identity{}, fmt.Errorf("%w: %q in a certificate", ErrIdentity, u)
		}
		return id, nil
	}
	return Identity{}, fmt.Errorf("%w: the certificate of %q has no banyan URI", ErrIdentity, cert.Subject)
}

// PeerOf returns the identity of the peer of a TLS connection. The error wraps ErrIdentity if
// TLS has not verified the peer's certificate.
func PeerOf(state tls.ConnectionState) (Identity, error) {
	if len(state.VerifiedChains) == 0 {
		return Identity{}, fmt.Errorf("%w: no verified certificate", ErrIdentity)
	}
	return Of(state.PeerCertificates[0])
}
