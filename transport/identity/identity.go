// Package identity says who a node is on the network: an X.509 certificate from
// the fleet's own authority, with role, region and name in a URI.
//
// Entry points: [NewAuthority] and [OpenAuthority] issue; [Load] reads the bundle
// a process runs with; [Bundle.ServerTLS] and [Bundle.ClientTLS] are what QUIC
// and HTTPS use; [PeerOf] reads the identity of the other side.
//
//	banyan://coordinator/eu/coordinator-eu     in the certificate's URI SAN
//
// Node certificates authenticate links. They sign no config: publisher and
// activation keys (package record) do. Every certificate also carries the DNS
// name ServerName, so that both sides verify in the ordinary way, whatever
// address they were reached at.
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

// ServerName is the DNS name every node certificate carries.
const ServerName = "node.banyan.internal"

// Role is what a certificate lets its holder be.
type Role string

// The roles.
const (
	RoleAgent       Role = "agent"
	RoleCoordinator Role = "coordinator"
	RoleClient      Role = "client" // a person or program that uses the control API
)

// Identity is who a certificate says its holder is.
type Identity struct {
	Role   Role
	Region string
	Name   string
}

// ErrIdentity is wrapped when a certificate has no identity, or has one that may not do what it
// is used for.
var ErrIdentity = errors.New("unsuitable identity")

// Validate reports a part that a certificate can't hold.
func (id Identity) Validate() error {
	switch id.Role {
	case RoleAgent, RoleCoordinator, RoleClient:
	default:
		return fmt.Errorf("%w: role %q is none of agent, coordinator, client", record.ErrInvalid, id.Role)
	}
	if err := record.ValidateRegion(id.Region); err != nil {
		return err
	}
	if err := record.ValidateConfig(id.Name); err != nil || strings.Contains(id.Name, "/") {
		return fmt.Errorf("%w: name %q must be 1 to %d letters, digits, '.', '_' and '-'", record.ErrInvalid, id.Name, record.MaxSegment)
	}
	return nil
}

func (id Identity) uri() *url.URL {
	return &url.URL{Scheme: "banyan", Host: string(id.Role), Path: "/" + id.Region + "/" + id.Name}
}

// String gives the URI form.
func (id Identity) String() string { return id.uri().String() }

// Mesh gives the form the overlay knows.
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

// Of reads the identity in a certificate.
func Of(cert *x509.Certificate) (Identity, error) {
	for _, u := range cert.URIs {
		if u.Scheme != "banyan" {
			continue
		}
		region, name, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		id := Identity{Role: Role(u.Host), Region: region, Name: name}
		if err := id.Validate(); !ok || err != nil {
			return Identity{}, fmt.Errorf("%w: %s", ErrIdentity, u)
		}
		return id, nil
	}
	return Identity{}, fmt.Errorf("%w: subject %q", ErrIdentity, cert.Subject)
}

// PeerOf reads the verified identity of the other side of a TLS connection.
func PeerOf(state tls.ConnectionState) (Identity, error) {
	if len(state.VerifiedChains) == 0 {
		return Identity{}, fmt.Errorf("%w: no verified certificate", ErrIdentity)
	}
	return Of(state.PeerCertificates[0])
}
