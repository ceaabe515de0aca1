"""Ground, houses, trees and sky of the synthetic drive."""
