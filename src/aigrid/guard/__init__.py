"""What may go in and out: personal data, jailbreaks and injections, and a site's own rules."""
